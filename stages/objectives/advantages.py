"""From scores to advantages: the reward a token, GAE, and the critic-free baselines."""

from __future__ import annotations

import torch
from torch import Tensor


def rewards_with_kl(scores_B: Tensor, kl_BT: Tensor, mask_BT: Tensor, kl_coef: float) -> Tensor:
    """-kl_coef * kl a token, plus the score on the last True slot of each row; 0 where masked. [B, T].

    scores_B: one number a sequence. kl_BT: nats, k1 (see kl.py). mask_BT: True on the answer's tokens, its
    end-of-sequence included: that token is an action, and the score belongs to it (TRL once put it one slot later).
    Raises ValueError if a row has no True slot.
    """
    kept_BT = mask_BT.bool()
    if not bool(kept_BT.any(-1).all()):
        raise ValueError("a row of the mask has no True slot: an answer needs at least its end-of-sequence token")
    width = kept_BT.shape[-1]
    slots_T = torch.arange(width, device=kept_BT.device)
    last_B = slots_T.masked_fill(~kept_BT, -1).amax(-1)
    is_last_BT = slots_T == last_B[:, None]
    penalty_BT = (-kl_coef * kl_BT).masked_fill(~kept_BT, 0)
    return penalty_BT + torch.where(is_last_BT, scores_B[:, None].to(kl_BT.dtype), 0)


@torch.no_grad()
def gae(rewards_BT: Tensor, values_BT: Tensor, mask_BT: Tensor, gamma: float, lam: float) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, eq. 16): (advantages_BT, returns_BT), detached.

    delta_t = r_t + gamma * V_{t+1} - V_t;  A_t = delta_t + gamma * lam * A_{t+1};  return_t = A_t + V_t.
    V and A past the last True slot are 0: an answer cut at the length limit counts as finished. Masked slots are
    skipped, as if they took no time: nothing they hold reaches the result, and their own result is 0.
    gamma, lam: in [0, 1]. lam = 1 is reward-to-go minus the value; lam = 0 the one-step error.
    """
    kept_BT = mask_BT.bool()
    advantages_BT, returns_BT = torch.zeros_like(values_BT), torch.zeros_like(values_BT)
    advantage_B = next_value_B = values_BT.new_zeros(values_BT.shape[0])
    for t in reversed(range(values_BT.shape[1])):
        kept_B, value_B = kept_BT[:, t], values_BT[:, t]
        delta_B = rewards_BT[:, t] + gamma * next_value_B - value_B
        advantage_B = torch.where(kept_B, delta_B + gamma * lam * advantage_B, advantage_B)
        next_value_B = torch.where(kept_B, value_B, next_value_B)
        advantages_BT[:, t] = torch.where(kept_B, advantage_B, 0)
        returns_BT[:, t] = torch.where(kept_B, advantage_B + value_B, 0)
    return advantages_BT, returns_BT


def rloo(scores_GK: Tensor) -> Tensor:
    """Each score minus the mean of the other answers to its prompt (Ahmadian et al. 2024). [G, K].

    scores_GK: K answers to each of G prompts, KL penalty included by the caller. Raises ValueError if K < 2.
    """
    num_answers = _group_size(scores_GK)
    others_GK = (scores_GK.sum(-1, keepdim=True) - scores_GK) / (num_answers - 1)
    return scores_GK - others_GK


def grpo(scores_GK: Tensor, eps: float = 1e-4) -> Tensor:
    """Scores standardised within each prompt: (s - mean) / (std + eps), std unbiased as in TRL. [G, K].

    Shao et al. 2024, section 4.1.2. A prompt whose answers all score the same gives 0. Raises ValueError if K < 2.
    """
    _group_size(scores_GK)
    centred_GK = scores_GK - scores_GK.mean(-1, keepdim=True)
    return centred_GK / (scores_GK.std(-1, keepdim=True) + eps)


def _group_size(scores_GK: Tensor) -> int:
    if scores_GK.shape[-1] < 2:
        raise ValueError("a group baseline needs at least two answers a prompt")
    return int(scores_GK.shape[-1])
