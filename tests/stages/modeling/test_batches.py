"""Padding by lengths, and grouping by length."""

from __future__ import annotations

from stages.modeling.batches import left_pad, split_by_length


def test_left_pad_puts_the_padding_before_the_row() -> None:
    padded = left_pad([[1, 9], [3, 4, 5]], pad_id=9)  # a row may hold the pad id
    assert padded.ids_BT.tolist() == [[9, 1, 9], [3, 4, 5]]
    assert padded.mask_BT.tolist() == [[False, True, True], [True, True, True]]


def test_groups_hold_every_row_once_and_keep_to_the_limit() -> None:
    groups = split_by_length([3, 9, 2, 3, 20], max_tokens=9)
    assert groups == [[2, 0, 3], [1], [4]]


def test_no_rows_give_no_groups() -> None:
    assert split_by_length([], max_tokens=9) == []
