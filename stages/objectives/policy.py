"""PPO's policy loss a token, how it is averaged, and what is logged about it."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.objectives.masked import masked_mean

MAX_LOG_RATIO = 20.0  # exp(20) is finite in float32 and far outside any clip range


def clipped_policy_loss(logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    """max(-A * ratio, -A * clip(ratio, 1 - clip_range, 1 + clip_range)), unreduced (Schulman et al. 2017, eq. 7).

    ratio = exp(logprobs - old_logprobs), the difference held within +-20 so that it stays finite. All [B, T] (or any
    one shape), nats; gradients flow through logprobs. No gradient where the clip is active. At ratio 1 it is -A.
    """
    ratio = _ratio(logprobs, old_logprobs)
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip_range, 1 + clip_range))


def dual_clip(losses: Tensor, advantages: Tensor, bound: float = 3.0) -> Tensor:
    """Cap the loss of negative advantages at -A * bound (Ye et al. 2020); takes clipped_policy_loss's result.

    It matters only at ratios above `bound`, that is off-policy. Raises ValueError unless bound > 1.
    """
    if not bound > 1:
        raise ValueError(f"the dual clip's bound is {bound}: it must be above 1")
    return torch.where(advantages < 0, torch.minimum(losses, -advantages * bound), losses)


@torch.no_grad()
def clip_fraction(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, clip_range: float, mask: Tensor
) -> Tensor:
    """Share in [0, 1] of the tokens whose gradient the clip removes; not all ratios outside the range are such."""
    ratio = _ratio(logprobs, old_logprobs)
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    return masked_mean((-advantages * clipped > -advantages * ratio).to(ratio.dtype), mask)


def aggregate_token_mean(losses_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Every token weighs the same: sum / number of tokens in this batch. A scalar."""
    return masked_mean(losses_BT, mask_BT)


def aggregate_seq_mean_token_mean(losses_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Every sequence weighs the same, so a long answer's tokens weigh less, and lengths drift. A scalar."""
    return masked_mean(losses_BT, mask_BT, dim=-1).mean()


def aggregate_seq_mean_token_sum(losses_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """Sum over each sequence's tokens, mean over the sequences. A scalar in nats a sequence."""
    return losses_BT.masked_fill(~mask_BT.bool(), 0).sum(-1).mean()


def token_mean_over(losses_BT: Tensor, mask_BT: Tensor, num_tokens: int) -> Tensor:
    """This micro-batch's part of the token mean: sum / num_tokens, the tokens of the *whole* optimiser step.

    Adding up the micro-batches' gradients then gives that of the undivided batch; a mean in each (as TRL's PPO took)
    gives tokens of short micro-batches more weight. Raises ValueError if num_tokens <= 0.
    """
    if num_tokens <= 0:
        raise ValueError(f"num_tokens is {num_tokens}: a step needs at least one token")
    return losses_BT.masked_fill(~mask_BT.bool(), 0).sum() / num_tokens


def entropy(logits_V: Tensor, temperature: float = 1.0) -> Tensor:
    """Entropy of softmax(logits / temperature) over the last dimension, nats, in [0, log V].

    A logit of -inf is a token that cannot occur and adds nothing.
    """
    logprobs_V = (logits_V / temperature).log_softmax(-1)
    return -(logprobs_V.exp() * logprobs_V.clamp(min=torch.finfo(logprobs_V.dtype).min)).sum(-1)


def _ratio(logprobs: Tensor, old_logprobs: Tensor) -> Tensor:
    return (logprobs - old_logprobs).clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp()
