"""Direct preference optimisation and its kin, one function a loss; all unreduced, [B].

Every loss takes (policy_w, policy_l, ref_w, ref_l, beta): the log-probabilities (nats, summed over the answer's tokens)
of the winning and the losing answer under the policy and under the frozen reference, each [B], and beta, how strongly
to stay near the reference. What else a loss reads it takes by keyword: lengths_w and lengths_l are tokens, [B].
Below, w = policy_w - ref_w and l = policy_l - ref_l. Gradients flow through the policy's log-probabilities.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def implicit_rewards(
    policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float
) -> tuple[Tensor, Tensor]:
    """(beta * w, beta * l), the rewards for which this policy is optimal, up to a constant a prompt; detached.

    Rafailov et al. 2023, eq. 5. Log their means, their difference (the margin) and how often it is positive.
    """
    return (beta * (policy_w - ref_w)).detach(), (beta * (policy_l - ref_l)).detach()


def sigmoid(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """DPO: -log sigmoid(beta (w - l)) (Rafailov et al. 2023, eq. 7). log 2 where policy = reference, 0 at best."""
    return -logsigmoid(beta * _margin(policy_w, policy_l, ref_w, ref_l))


def sigmoid_norm(
    policy_w: Tensor,
    policy_l: Tensor,
    ref_w: Tensor,
    ref_l: Tensor,
    beta: float,
    *,
    lengths_w: Tensor,
    lengths_l: Tensor,
) -> Tensor:
    """DPO on log-ratios a token: -log sigmoid(beta (w / |w| - l / |l|)) (as in Tulu 3). beta is larger here, 5."""
    return -logsigmoid(beta * _mean_margin(policy_w, policy_l, ref_w, ref_l, lengths_w, lengths_l))


def length_margin(
    policy_w: Tensor,
    policy_l: Tensor,
    ref_w: Tensor,
    ref_l: Tensor,
    beta: float,
    *,
    lengths_w: Tensor,
    lengths_l: Tensor,
    alpha: float,
) -> Tensor:
    """R-DPO: -log sigmoid(beta (w - l) - alpha (|w| - |l|)) (Park et al. 2024).

    alpha, nats a token, above 0: a winner that is longer must win by more, so that length is not what is learned.
    alpha = 0 is DPO.
    """
    lead = (lengths_w - lengths_l).to(policy_w.dtype)
    return -logsigmoid(beta * _margin(policy_w, policy_l, ref_w, ref_l) - alpha * lead)


def cdpo(
    policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float, *, label_smoothing: float
) -> Tensor:
    """Conservative DPO: (1 - e) * DPO + e * DPO of the swapped pair (Mitchell 2023). TRL has none.

    label_smoothing e in [0, 0.5): the share of labels believed wrong. The margin then stops at logit(1 - e) / beta.
    """
    _check_smoothing(label_smoothing)
    logits = beta * _margin(policy_w, policy_l, ref_w, ref_l)
    return -(1 - label_smoothing) * logsigmoid(logits) - label_smoothing * logsigmoid(-logits)


def robust(
    policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float, *, label_smoothing: float
) -> Tensor:
    """((1 - e) * DPO - e * DPO of the swapped pair) / (1 - 2e): unbiased if a share e of labels is flipped.

    Chowdhury et al. 2024. e in [0, 0.5). It can be negative, and unlike cDPO it does not bound the margin.
    """
    _check_smoothing(label_smoothing)
    logits = beta * _margin(policy_w, policy_l, ref_w, ref_l)
    kept, flipped = -(1 - label_smoothing) * logsigmoid(logits), -label_smoothing * logsigmoid(-logits)
    return (kept - flipped) / (1 - 2 * label_smoothing)


def hinge(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """max(0, 1 - beta (w - l)) (SLiC, Zhao et al. 2023). 1 where policy = reference; no gradient past the margin."""
    return torch.relu(1 - beta * _margin(policy_w, policy_l, ref_w, ref_l))


def ipo(
    policy_w: Tensor,
    policy_l: Tensor,
    ref_w: Tensor,
    ref_l: Tensor,
    beta: float,
    *,
    lengths_w: Tensor,
    lengths_l: Tensor,
) -> Tensor:
    """IPO on log-ratios a token: (w / |w| - l / |l| - 1 / (2 beta))^2, as TRL and IPO's authors run it.

    beta is the paper's tau. 1 / (4 beta^2) where policy = reference.
    """
    return (_mean_margin(policy_w, policy_l, ref_w, ref_l, lengths_w, lengths_l) - 1 / (2 * beta)) ** 2


def ipo_sum(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """IPO as written: (w - l - 1 / (2 beta))^2 (Azar et al. 2023, eq. 17). Grows with the answers' lengths."""
    return (_margin(policy_w, policy_l, ref_w, ref_l) - 1 / (2 * beta)) ** 2


def apo_zero(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """1 - sigmoid(beta w) + sigmoid(beta l): winners up, losers down (D'Oosterlinck et al. 2024, eq. 7). In (0, 2)."""
    return torch.sigmoid(-beta * (policy_w - ref_w)) + torch.sigmoid(beta * (policy_l - ref_l))


def apo_down(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """sigmoid(beta w) + 1 - sigmoid(beta (w - l)): both down, losers more (eq. 8 there). For winners that are poor."""
    margin = _margin(policy_w, policy_l, ref_w, ref_l)
    return torch.sigmoid(beta * (policy_w - ref_w)) + torch.sigmoid(-beta * margin)


def sppo_hard(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """(w - 1 / (2 beta))^2 + (l + 1 / (2 beta))^2: SPPO with hard labels (Wu et al. 2024, eq. 4.7)."""
    return (policy_w - ref_w - 0.5 / beta) ** 2 + (policy_l - ref_l + 0.5 / beta) ** 2


def nca_pair(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """NCA: -log s(beta w) - (log s(-beta w) + log s(-beta l)) / 2, s the sigmoid (Chen et al. 2024)."""
    reward_w, reward_l = beta * (policy_w - ref_w), beta * (policy_l - ref_l)
    return -logsigmoid(reward_w) - 0.5 * (logsigmoid(-reward_w) + logsigmoid(-reward_l))


def bco_pair(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, beta: float) -> Tensor:
    """-log s(beta w) - log s(-beta l), s the sigmoid: a binary classifier (Jung et al. 2024), reward shift left out."""
    return -logsigmoid(beta * (policy_w - ref_w)) - logsigmoid(-beta * (policy_l - ref_l))


LOSSES: dict[str, Callable[..., Tensor]] = {
    "sigmoid": sigmoid,
    "sigmoid_norm": sigmoid_norm,
    "length_margin": length_margin,
    "cdpo": cdpo,
    "robust": robust,
    "hinge": hinge,
    "ipo": ipo,
    "ipo_sum": ipo_sum,
    "apo_zero": apo_zero,
    "apo_down": apo_down,
    "sppo_hard": sppo_hard,
    "nca_pair": nca_pair,
    "bco_pair": bco_pair,
}


def extra_inputs(name: str) -> tuple[str, ...]:
    """The keywords the named loss reads beyond the common five: a setting it does not read can then be refused."""
    parameters = inspect.signature(LOSSES[name]).parameters.values()
    return tuple(parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)


def _margin(policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor) -> Tensor:
    return (policy_w - ref_w) - (policy_l - ref_l)


def _mean_margin(
    policy_w: Tensor, policy_l: Tensor, ref_w: Tensor, ref_l: Tensor, lengths_w: Tensor, lengths_l: Tensor
) -> Tensor:
    return (policy_w - ref_w) / lengths_w.clamp(min=1) - (policy_l - ref_l) / lengths_l.clamp(min=1)


def _check_smoothing(label_smoothing: float) -> None:
    if not 0 <= label_smoothing < 0.5:
        raise ValueError(f"label_smoothing is {label_smoothing}: it must be at least 0 and under 0.5")
