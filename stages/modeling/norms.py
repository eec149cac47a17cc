"""RMS normalisation as one step of autograd (Zhang & Sennrich 2019).

transformers writes it as eight operators, each with a tensor of its own and most of them in float32, kept for
backward. Here backward keeps the input and one number a token. On a CPU forward and backward of 370 tokens of 576 take
0.9 ms instead of 2.1 in bfloat16 and 0.4 instead of 0.9 in float32 (2 cores with AMX, torch 2.13). On a GPU torch's
own kernel does it, which rounds once where transformers rounds twice.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def fuse(model: nn.Module) -> None:
    """Let every norm that computes what `_Fused` does compute it so; harmless when repeated."""
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon") and _is_plain(module):
            module.__class__ = _fused_class(type(module))  # the same weights and state with another forward


@cache
def _fused_class(own: type[nn.Module]) -> type[nn.Module]:
    return type(f"Fused{own.__name__}", (FusedForward, own), {})


class FusedForward:
    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.device.type == "cuda":
            return torch.nn.functional.rms_norm(hidden_states, self.weight.shape, self.weight, self.variance_epsilon)
        if not torch.is_grad_enabled():  # as in lora.py: the call itself costs
            return _normed(hidden_states, self.weight, self.variance_epsilon)[0]
        return _Fused.apply(hidden_states, self.weight, self.variance_epsilon)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def _is_plain(module: Any) -> bool:
    """Some families scale by 1 + weight, or round in another order: tried on a row, with weights that are not one."""
    if isinstance(module, FusedForward) or getattr(module, "weight", None) is None:
        return False
    module = copy.deepcopy(module)
    count, like = module.weight.shape[-1], {"dtype": module.weight.dtype, "device": module.weight.device}
    module.weight.copy_(torch.linspace(0.3, 2.1, count, **like))
    row = torch.linspace(-2, 3, count, **like)[None]
    return torch.equal(module(row), _normed(row, module.weight, module.variance_epsilon)[0])


def _normed(x: Tensor, weight: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """y as below, and the rate [..., 1] each token is multiplied by."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    rate = wide.square().mean(-1, keepdim=True).add_(epsilon).rsqrt_()
    return weight * (wide * rate).to(x.dtype), rate


class _Fused(torch.autograd.Function):
    """y = w x / sqrt(mean(x^2) + eps) for x [..., D], w [D]; all but the last product in float32, as theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        out, rate = _normed(x, weight, epsilon)
        ctx.save_for_backward(x, weight, rate)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, rate = ctx.saved_tensors
        unit = x.to(rate.dtype) * rate
        grad_weight = (grad * unit.to(x.dtype)).flatten(0, -2).sum(0) if ctx.needs_input_grad[1] else None
        grad_unit = (grad * weight).to(rate.dtype)
        along = torch.linalg.vecdot(grad_unit, unit).unsqueeze(-1).div_(x.shape[-1])
        return grad_unit.addcmul_(unit, along, value=-1).mul_(rate).to(x.dtype), grad_weight, None
