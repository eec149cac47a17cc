"""Attention written out against torch's kernel."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from stages.modeling import attention
from stages.modeling.attention import _WrittenOut, causal


def given(num_queries: int, num_keys: int, dtype: torch.dtype = torch.float32, num_groups: int = 2) -> list[Tensor]:
    """Query of 6 heads and key of size 8, value and a gradient of size 5."""
    generator = torch.Generator().manual_seed(num_queries)
    shapes = [(6, num_queries, 8), (num_groups, num_keys, 8), (num_groups, num_keys, 5), (6, num_queries, 5)]
    return [torch.randn(1, *shape, generator=generator).to(dtype) for shape in shapes]


def by_torch(
    query: Tensor, key: Tensor, value: Tensor, window: int | None = None, scale: float | None = None
) -> Tensor:
    (num_queries, num_keys), repeats = (query.shape[2], key.shape[2]), query.shape[1] // key.shape[1]
    place_T, place_S = torch.arange(num_keys)[-num_queries:, None], torch.arange(num_keys)
    seen = (place_S <= place_T) & (place_T - place_S < (window or num_keys))
    key, value = (x.repeat_interleave(repeats, dim=1) for x in (key, value))
    return scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=scale)


def with_gradients(function: Any, query: Tensor, key: Tensor, value: Tensor, grad: Tensor) -> list[Tensor]:
    query, key, value = (x.clone().requires_grad_() for x in (query, key, value))
    found = function(query, key, value)
    found.backward(grad)
    return [found.detach(), query.grad, key.grad, value.grad]


@pytest.mark.parametrize(("num_queries", "num_keys", "window"), [(1, 1, None), (7, 7, None), (5, 12, None), (5, 12, 4)])
@pytest.mark.parametrize("num_groups", [1, 2, 6])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05)])
def test_values_and_gradients_are_those_of_torch(
    num_queries: int, num_keys: int, window: int | None, num_groups: int, dtype: torch.dtype, tolerance: float
) -> None:
    tensors = given(num_queries, num_keys, dtype, num_groups)
    ours = with_gradients(lambda *qkv: causal(*qkv, scaling=0.3, window=window, biases={}), *tensors)
    theirs = with_gradients(lambda *qkv: by_torch(*qkv, window, 0.3), *(x.double() for x in tensors))
    for found, wanted in zip(ours, theirs, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), wanted, atol=tolerance, rtol=0)


def test_in_bfloat16_large_scores_cost_a_few_hundredths_and_no_more() -> None:
    """Scores up to 30, which bfloat16 rounds by up to 0.06."""
    query, key, value, _ = given(40, 60, torch.bfloat16)
    found = causal(5 * query, key, value, biases={}).double()
    wanted = by_torch(*(x.double() for x in (5 * query, key, value)))
    assert float((found - wanted).norm() / wanted.norm()) < 0.03


def test_the_usual_scale_is_that_of_torch() -> None:
    query, key, value, _ = given(4, 6)
    torch.testing.assert_close(causal(query, key, value, biases={}), by_torch(query, key, value))


def test_gradients_are_those_of_finite_differences() -> None:
    query, key, value, _ = (x[0].double().requires_grad_() for x in given(3, 5))
    bias = torch.zeros(9, 5, dtype=torch.float64)
    bias[0, 3] = -torch.inf
    assert torch.autograd.gradcheck(lambda *qkv: _WrittenOut.apply(*qkv, bias, 0.7), (query, key, value))


@pytest.mark.parametrize("window", [None, 3])
def test_long_parts_and_other_dtypes_go_to_torch_and_give_the_same(
    window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    query, key, value, _ = given(5, 9)
    short = causal(query, key, value, window=window, biases={})
    monkeypatch.setattr(_WrittenOut, "apply", None)  # would raise
    torch.testing.assert_close(
        causal(*(x.double() for x in (query, key, value)), window=window, biases={}).float(), short
    )
    monkeypatch.setattr(attention, "MAX_PAIRS", {torch.float32: 5 * 9 - 1})
    torch.testing.assert_close(causal(query, key, value, window=window, biases={}), short)


def test_what_is_added_to_the_scores_is_made_once_for_each_size() -> None:
    biases: dict[Any, Tensor] = {}
    for num_queries, num_keys in ((4, 6), (4, 6), (4, 7)):
        query, key, value, _ = given(num_queries, num_keys)
        causal(query, key, value, biases=biases)
        causal(query, key, value, window=2, biases=biases)
    assert len(biases) == 4
