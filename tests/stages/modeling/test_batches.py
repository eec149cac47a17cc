"""Padding by lengths, and grouping by length."""

from __future__ import annotations

from stages.modeling.batches import left_pad, right_pad, split_by_length


def test_right_pad_masks_by_length_when_a_row_holds_the_pad_id() -> None:
    padded = right_pad([[1, 0], [1, 2, 0]], pad_id=0)
    assert padded.ids_BT.tolist() == [[1, 0, 0], [1, 2, 0]]
    assert padded.mask_BT.tolist() == [[True, True, False], [True, True, True]]
    assert padded.last_B.tolist() == [1, 2]


def test_left_pad_puts_the_padding_before_the_row() -> None:
    padded = left_pad([[1, 2], [3, 4, 5]], pad_id=9)
    assert padded.ids_BT.tolist() == [[9, 1, 2], [3, 4, 5]]
    assert padded.mask_BT.tolist() == [[False, True, True], [True, True, True]]


def test_groups_hold_every_row_once_and_keep_to_the_limit() -> None:
    groups = split_by_length([3, 9, 2, 3, 20], max_tokens=9)
    assert groups == [[2, 0, 3], [1], [4]]


def test_no_rows_give_no_groups() -> None:
    assert split_by_length([], max_tokens=9) == []
