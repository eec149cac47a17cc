"""The fused norm against transformers' own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from transformers.models.flex_olmo.modeling_flex_olmo import FlexOlmoRMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from stages.modeling.norms import _Fused, fuse


def norm(dtype: torch.dtype) -> LlamaRMSNorm:
    made = LlamaRMSNorm(32, eps=1e-5)
    made.weight.data = torch.linspace(-0.5, 2, 32)
    return made.to(dtype)


def results(module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = module(x)
    (y.float() ** 3).sum().backward()
    return [y.detach(), x.grad, module.weight.grad]  # type: ignore[list-item]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_values_are_the_same_bits_and_gradients_those_of_transformers(dtype: torch.dtype, tolerance: float) -> None:
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    module = norm(dtype)
    value, *gradients = results(module, x)
    module.weight.grad = None
    fuse(module)
    assert type(module).__name__ == "FusedLlamaRMSNorm"
    ours, *our_gradients = results(module, x)
    assert torch.equal(ours, value)
    for found, wanted in zip(our_gradients, gradients, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found, wanted, atol=tolerance * float(wanted.abs().max()), rtol=0)
    with torch.no_grad():
        assert torch.equal(module(x), ours)


def test_gradients_are_those_of_finite_differences() -> None:
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *given: _Fused.apply(*given, 1e-3), (x, weight))


def test_a_norm_of_another_formula_or_order_is_left_alone() -> None:
    """FlexOlmo multiplies before it rounds, which in bfloat16 is the same only while its weights are one."""
    rounded_last, shifted, bare = FlexOlmoRMSNorm(32).bfloat16(), norm(torch.float32), norm(torch.float32)

    class ShiftedRMSNorm(LlamaRMSNorm):
        def forward(self, hidden_states: Tensor) -> Tensor:
            return super().forward(hidden_states) + 1  # type: ignore[no-any-return]

    shifted.__class__, bare.weight = ShiftedRMSNorm, None
    for module in (rounded_last, shifted, bare):
        own = type(module)
        fuse(module)
        assert type(module) is own
    assert torch.equal(rounded_last.weight, torch.ones(32).bfloat16())


def test_fusing_twice_is_fusing_once_and_a_copy_keeps_its_own_weight() -> None:
    module = norm(torch.float32)
    fuse(module)
    fused = type(module)
    fuse(module)
    assert type(module) is fused
    twin = copy.deepcopy(module)
    twin.weight.data.zero_()
    row = torch.ones(1, 32)
    assert module(row).any() and not twin(row).any()
