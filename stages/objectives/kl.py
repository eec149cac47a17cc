"""The KL penalty: three estimators from samples, the exact divergence, and what steers its coefficient.

With l = logprobs - ref_logprobs on tokens sampled from the policy, k1 and k3 estimate KL(policy || reference) without
bias. As training signals they are not alike (J. Schulman, "Approximating KL divergence", and measured here): inside
the reward only k1 has the right optimum; as a loss only k2 has its gradient, k1's is zero on average, and k3's is that
of the forward KL. None of them is clamped: a clamp removes the penalty where the policy has left the reference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

MAX_RELATIVE_ERROR = 0.2  # lm-human-preferences clips the controller's error here


def kl_k1(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """l, nats a token; any shape. Negative on some tokens; a negative mean over many says the sampler is wrong."""
    return logprobs - ref_logprobs


def kl_k2(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """l^2 / 2, nats a token; any shape. Biased as an estimate, right as a loss: its gradient is l * grad(logprobs)."""
    return 0.5 * (logprobs - ref_logprobs) ** 2


def kl_k3(logprobs: Tensor, ref_logprobs: Tensor) -> Tensor:
    """exp(-l) - 1 + l, nats a token; any shape. Never negative; less noisy than k1 only when the two are close."""
    log_ratio = logprobs - ref_logprobs
    return torch.expm1(-log_ratio) + log_ratio


def exact_kl(logp_V: Tensor, logq_V: Tensor) -> Tensor:
    """KL(p || q) = sum_v p (log p - log q) over the last dimension, nats; both normalised log-probabilities.

    Where p is 0 the term is 0, whatever q; where only q is 0 the result is infinite.
    """
    impossible = logp_V == -math.inf
    terms_V = logp_V.exp() * (logp_V.masked_fill(impossible, 0) - logq_V.masked_fill(impossible, 0))
    return terms_V.sum(-1)


@dataclass(frozen=True)
class FixedKL:
    """A coefficient that stays: reward units a nat."""

    coef: float

    def update(self, kl_seq_mean: float, num_episodes: int) -> FixedKL:
        """Itself, so that the PPO loop need not know which controller it has."""
        return self


@dataclass(frozen=True)
class AdaptiveKL:
    """A coefficient that holds the KL near a target (Ziegler et al. 2019, section 2.2).

    coef: reward units a nat, now. target: nats a *sequence*, summed over its tokens; OpenRLHF and verl feed the mean a
    token, so their targets are smaller by the length. horizon: episodes; larger reacts more slowly.
    """

    coef: float
    target: float
    horizon: float

    def __post_init__(self) -> None:
        if not (self.target > 0 and self.horizon > 0):
            raise ValueError(f"target ({self.target}) and horizon ({self.horizon}) must be positive")

    def update(self, kl_seq_mean: float, num_episodes: int) -> AdaptiveKL:
        """coef * (1 + clip(kl / target - 1, -0.2, 0.2) * num_episodes / horizon), as a new controller.

        kl_seq_mean: nats, the batch mean of the sum of k1 over each sequence. num_episodes: in that batch.
        Raises ValueError if the KL is not finite, or the batch so large that the coefficient could reach 0.
        """
        if not math.isfinite(kl_seq_mean):
            raise ValueError(f"kl_seq_mean is {kl_seq_mean}: the controller needs a finite number")
        step = MAX_RELATIVE_ERROR * num_episodes / self.horizon
        if step >= 1:
            raise ValueError(f"{num_episodes} episodes in one update need a horizon above {self.horizon * step:g}")
        error = min(max(kl_seq_mean / self.target - 1, -MAX_RELATIVE_ERROR), MAX_RELATIVE_ERROR)
        return replace(self, coef=self.coef * (1 + error * num_episodes / self.horizon))


KLController = FixedKL | AdaptiveKL
