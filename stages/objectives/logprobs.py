"""Log-probabilities (nats) of given tokens, without a float32 copy of all logits at once."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.utils.checkpoint import checkpoint

from stages.objectives.policy import entropy

ROWS_A_CHUNK = 1024  # of logits upcast together: 200 MB in float32 for a vocabulary of 49152


def selective_logprobs(logits_BTV: Tensor, targets_BT: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probability of each target token: z[target] - logsumexp(z), z = logits / temperature; [B, T], float32.

    logits_BTV: position t predicts targets_BT[:, t], so the caller has shifted them. Any leading shape will do.
    Half precision is upcast before the logsumexp (in bfloat16 the result is off by up to 2e-2 nat); float64 is kept.
    Raises ValueError if the temperature is not positive.
    """
    _check_temperature(temperature)
    logits_NV, targets_N = logits_BTV.flatten(0, -2), targets_BT.flatten()
    chunks = zip(torch.split(logits_NV, ROWS_A_CHUNK), torch.split(targets_N, ROWS_A_CHUNK), strict=True)
    return torch.cat([_gathered(_upcast(z) / temperature, y) for z, y in chunks]).view(targets_BT.shape)


def scored_logprobs(
    hidden_ND: Tensor,
    lm_head_weight_VD: Tensor,
    targets_N: Tensor,
    temperature: float,
    chunk: int = 512,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Apply the LM head chunk by chunk and score the targets: (logprobs_N, entropy_N), float32, nats.

    hidden_ND: only the states that predict a scored token. With gradients a chunk's logits are computed again in the
    backward pass, so at most `chunk` x V of them ever live. The entropy is detached: it is a metric here.
    The product runs in the head's dtype. N = 0 gives empty tensors. Raises ValueError if temperature or chunk <= 0.
    """
    _check_temperature(temperature)
    if chunk <= 0:
        raise ValueError(f"chunk is {chunk}: it must be positive")
    given = (hidden_ND, lm_head_weight_VD) if bias is None else (hidden_ND, lm_head_weight_VD, bias)
    learning = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in given)

    def score(states_ND: Tensor, tokens_N: Tensor) -> tuple[Tensor, Tensor]:
        logits_NV = _upcast(linear(states_ND.to(lm_head_weight_VD.dtype), lm_head_weight_VD, bias)) / temperature
        logprobs_N = _gathered(logits_NV, tokens_N)
        with torch.no_grad():  # after the log-probabilities: the recomputation stops before it gets here
            return logprobs_N, entropy(logits_NV)

    parts = []
    for states_ND, tokens_N in zip(torch.split(hidden_ND, chunk), torch.split(targets_N, chunk), strict=True):
        if learning:  # nothing in here is random, so the RNG state need not be kept
            parts.append(checkpoint(score, states_ND, tokens_N, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(score(states_ND, tokens_N))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _gathered(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    return logits_NV.gather(-1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(-1)


def _upcast(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}: it must be positive")
