"""Log-probabilities (nats) of given tokens, without a float32 copy of all logits at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear

from stages.objectives.policy import entropy

ROWS_A_CHUNK = 1024  # of logits upcast together: 200 MB in float32 for a vocabulary of 49152


def selective_logprobs(logits_BTV: Tensor, targets_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each target token: z[target] - logsumexp(z), z = logits / temperature; [B, T], float32.

    logits_BTV: position t predicts targets_BT[:, t], so the caller has shifted them. Any leading shape will do.
    Half precision is upcast before the logsumexp (in bfloat16 the result is off by up to 2e-2 nat); float64 is kept.
    Raises ValueError if the temperature is not positive.
    """
    _check(temperature, ROWS_A_CHUNK)
    logits_NV, targets_N = logits_BTV.flatten(0, -2), targets_BT.flatten()
    chunks = zip(torch.split(logits_NV, ROWS_A_CHUNK), torch.split(targets_N, ROWS_A_CHUNK), strict=True)
    return torch.cat([_gathered(_upcast(z) / temperature, y) for z, y in chunks]).view(targets_BT.shape)


def scored_logprobs(
    hidden_ND: Tensor, lm_head_weight_VD: Tensor, targets_N: Tensor, temperature: float, chunk: int = 512
) -> Tensor:
    """Apply the LM head chunk by chunk and score the targets: logprobs_N, float32 (float64 is kept), nats.

    hidden_ND: only the states that predict a scored token. At most `chunk` x V logits ever live, with gradients too:
    a log-probability's gradient by its state is one vector, (W[target] - sum_v p_v W[v]) / temperature, so the forward
    pass works it out while it has the logits, and nothing is computed twice unless the head itself learns.
    The product runs in the head's dtype. N = 0 gives an empty tensor. Raises ValueError if temperature or chunk <= 0.
    """
    _check(temperature, chunk)
    return _ScoredLogprobs.apply(hidden_ND, lm_head_weight_VD, targets_N, temperature, chunk)  # type: ignore[no-any-return, no-untyped-call]


@torch.no_grad()
def scored_logprobs_and_entropy(
    hidden_ND: Tensor, lm_head_weight_VD: Tensor, targets_N: Tensor, temperature: float, chunk: int = 512
) -> tuple[Tensor, Tensor]:
    """The same without gradients, with the entropy (nats) of each distribution: (logprobs_N, entropy_N)."""
    _check(temperature, chunk)
    parts = []
    for states_ND, tokens_N in zip(torch.split(hidden_ND, chunk), torch.split(targets_N, chunk), strict=True):
        logits_NV = _logits(states_ND, lm_head_weight_VD, temperature)
        parts.append((_gathered(logits_NV, tokens_N), entropy(logits_NV)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


class _ScoredLogprobs(torch.autograd.Function):
    """See scored_logprobs. Not differentiable twice."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, head_VD: Tensor, targets_N: Tensor, temperature: float, chunk: int
    ) -> Tensor:
        ctx.settings = temperature, chunk
        slope_ND = torch.empty_like(hidden_ND) if ctx.needs_input_grad[0] else None
        logprobs = []
        for start in range(0, len(targets_N), chunk):
            rows = slice(start, start + chunk)
            logits_NV = _logits(hidden_ND[rows], head_VD, temperature)
            logprobs_N, excess_NV = _logprobs_and_excess_(logits_NV, targets_N[rows])
            logprobs.append(logprobs_N)
            if slope_ND is not None:
                slope_ND[rows] = (excess_NV.to(head_VD.dtype) @ head_VD).to(slope_ND.dtype) / -temperature
        ctx.save_for_backward(slope_ND, *((hidden_ND, head_VD, targets_N) if ctx.needs_input_grad[1] else ()))
        return torch.cat(logprobs) if logprobs else _upcast(hidden_ND.new_zeros(0))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        slope_ND, *learning = ctx.saved_tensors
        grad_hidden = None if slope_ND is None else slope_ND * grad_N[:, None].to(slope_ND.dtype)
        if not learning:
            return grad_hidden, None, None, None, None
        hidden_ND, head_VD, targets_N = learning
        temperature, chunk = ctx.settings
        grad_head = torch.zeros_like(head_VD)
        for start in range(0, len(targets_N), chunk):
            rows = slice(start, start + chunk)
            states_ND = hidden_ND[rows].to(head_VD.dtype)
            _, excess_NV = _logprobs_and_excess_(_logits(states_ND, head_VD, temperature), targets_N[rows])
            grad_head += (excess_NV * (grad_N[rows, None] / -temperature)).to(head_VD.dtype).T @ states_ND
        return grad_hidden, grad_head, None, None, None


def _logits(states_ND: Tensor, head_VD: Tensor, temperature: float) -> Tensor:
    logits_NV = _upcast(linear(states_ND.to(head_VD.dtype), head_VD))
    return logits_NV if temperature == 1 else logits_NV / temperature


def _logprobs_and_excess_(logits_NV: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets, and softmax(logits) - onehot(target) in the place of the logits.

    By hand, for torch's fused log_softmax is off by up to 1.4e-5 in float32 over 49152 entries, this by 1.4e-6.
    """
    here = torch.arange(len(targets_N), device=targets_N.device), targets_N
    peak_N1 = logits_NV.amax(-1, keepdim=True)
    target_N = logits_NV[here]
    sum_N1 = logits_NV.sub_(peak_N1).exp_().sum(-1, keepdim=True)
    logits_NV.div_(sum_N1)[here] -= 1
    return target_N - (sum_N1.log() + peak_N1)[:, 0], logits_NV  # logsumexp's own order: the same bits as `_gathered`


def _gathered(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    return logits_NV.gather(-1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(-1)


def _upcast(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check(temperature: float, chunk: int) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be positive")
    if chunk <= 0:
        raise ValueError(f"chunk is {chunk}: it must be positive")
