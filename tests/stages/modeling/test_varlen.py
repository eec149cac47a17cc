"""The plan for a GPU's one kernel call, with a slow kernel in its place; test_gpu.py has the real one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from test_ragged import OPENED, ROWS
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from stages.modeling import varlen
from stages.modeling.ragged import Group, Ragged


def slow_kernel(
    query: Tensor, key: Tensor, value: Tensor, queries: Tensor, keys: Tensor, *sizes: Any, **options: Any
) -> tuple[Tensor, ...]:
    """Piece by piece; each query sees the keys up to its own place from the end, at most `window_size_left` back."""
    most_queries, most_keys, dropout, causal, debug = sizes
    assert (dropout, causal, debug) == (0.0, True, False)
    assert most_queries >= queries.diff().max() and most_keys >= keys.diff().max()
    assert queries[-1] == len(query) and keys[-1] <= len(key) == len(value)
    key, value = key[: keys[-1]], value[: keys[-1]]
    outputs = []
    for q, k, v in zip(
        *(x.tensor_split(at[1:-1].long()) for x, at in ((query, queries), (key, keys), (value, keys))), strict=True
    ):
        visible = torch.ones(len(q), len(k), dtype=torch.bool).tril(len(k) - len(q))
        if options["window_size_left"] is not None:
            assert options["window_size_right"] == 0
            visible = visible.triu(len(k) - len(q) - options["window_size_left"])
        repeated = (x.repeat_interleave(q.shape[1] // x.shape[1], 1).transpose(0, 1) for x in (k, v))
        outputs.append(
            scaled_dot_product_attention(q.transpose(0, 1), *repeated, attn_mask=visible, scale=options["scale"])
        )
    return (torch.cat([x.transpose(0, 1) for x in outputs]), query, query, query, query)


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize(
    "rows", [ROWS, OPENED, Ragged([Group([1, 2], [[3]]), Group([4], [])])], ids=["rows", "opened", "plain"]
)
def test_one_call_gives_what_part_by_part_gives(
    monkeypatch: pytest.MonkeyPatch, rows: Ragged, window: int | None
) -> None:
    generator = torch.Generator().manual_seed(0)
    count = len(rows.ids_N)
    query = torch.randn(1, 4, count, 8, generator=generator)
    key, value = (torch.randn(1, 2, count, 8, generator=generator) for _ in range(2))
    by_parts = rows.attention(0, query, key, value, 0.5, window)
    monkeypatch.setattr(varlen, "_kernel", slow_kernel)
    monkeypatch.setattr(varlen, "fits", lambda query, value: True)
    torch.testing.assert_close(Ragged(rows.groups).attention(0, query, key, value, 0.5, window), by_parts)


@pytest.mark.parametrize("rows", [ROWS, OPENED], ids=["rows", "opened"])
def test_gradients_reach_every_copy_of_a_key(monkeypatch: pytest.MonkeyPatch, rows: Ragged) -> None:
    torch.manual_seed(0)
    given = [torch.randn(1, heads, len(rows.ids_N), 8, requires_grad=True) for heads in (4, 2, 2)]
    slope = torch.randn(1, 4, len(rows.ids_N), 8)
    expected = torch.autograd.grad((rows.attention(0, *given, None, None) * slope).sum(), given)
    monkeypatch.setattr(varlen, "_kernel", slow_kernel)
    monkeypatch.setattr(varlen, "fits", lambda query, value: True)
    found = torch.autograd.grad((Ragged(rows.groups).attention(0, *given, None, None) * slope).sum(), given)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_keys_that_nobody_shares_stay_where_they_are() -> None:
    plan = varlen.Plan.of([[range(0, 3)], [range(3, 4)]], torch.device("cpu"))
    assert plan.seen is None
    assert plan.queries_P.tolist() == plan.keys_P.tolist() == [0, 3, *[4] * 7]


def test_shared_keys_are_laid_out_once_for_each_part_that_sees_them() -> None:
    parts = [[range(0, 2)], [range(0, 2), range(2, 3)], [range(0, 2), range(3, 4)]]
    plan = varlen.Plan.of(parts, torch.device("cpu"))
    assert plan.keys_P.tolist() == [0, 2, 5, *[8] * 6]
    assert plan.seen is not None
    assert plan.seen.tokens_M.tolist() == [0, 1, 0, 1, 2, 0, 1, 3, *[0] * 120]
    assert plan.seen.own_N.tolist() == [0, 1, 4, 7]
    (places,) = plan.seen.copies
    assert places.tolist() == [[2, 3, 128, 128], [5, 6, 128, 128], [128] * 4, [128] * 4]


def test_rows_of_like_sizes_make_plans_of_one_kind() -> None:
    def plan(*groups: Group) -> varlen.Plan:
        return Ragged(groups).filled(128).plan(torch.device("cpu"))

    one = plan(Group([1, 2], [[3], [4, 5]]), Group([6], []))
    assert one.kind == plan(Group([9], [[8, 7, 6], [5]]), Group([4] * 40, [])).kind
    assert one.kind != plan(Group([1, 2], [[3], [4, 5]]), Group([6] * 200, [])).kind
    assert one.kind != plan(Group([1, 2], [[3]]), Group([6], [])).kind  # nothing is shared


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 128), (128, 128), (129, 256), (1025, 1152), (2049, 2304), (5000, 5120)]
)
def test_sizes_are_rounded_up_to_few(count: int, expected: int) -> None:
    assert varlen.roomy(count, 128) == expected


def test_kernel_is_left_alone_on_a_cpu() -> None:
    tensor = torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16)
    assert not varlen.fits(tensor, tensor)
