"""Does a reward model order pairs as people did, and does its confidence mean what it says?

confidence_N: the probability it gives its own choice, sigmoid(|score difference|), in [0.5, 1].
correct_N: 1 where that choice is the people's, else 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

Z_95 = 1.959963984540054  # two-sided 95 % of a standard normal


@torch.no_grad()
def pair_accuracy(score_w: Tensor, score_l: Tensor) -> float:
    """Share in [0, 1] of pairs whose winner scores higher; equal scores count half. ValueError if there is none."""
    _check_filled(score_w)
    wins = (score_w > score_l).double() + 0.5 * (score_w == score_l).double()
    return float(wins.mean())


@torch.no_grad()
def brier(confidence_N: Tensor, correct_N: Tensor) -> float:
    """mean((confidence - correct)^2), in [0, 1]; always saying 0.5 gives 0.25. ValueError if there is none."""
    _check_filled(confidence_N)
    return float(((confidence_N.double() - correct_N.double()) ** 2).mean())


@torch.no_grad()
def negative_log_likelihood(confidence_N: Tensor, correct_N: Tensor) -> float:
    """Mean nats: -log confidence where correct, -log(1 - confidence) elsewhere; infinite if surely wrong once."""
    _check_filled(confidence_N)
    confidence_N = confidence_N.double()
    return float(-torch.where(correct_N.bool(), confidence_N.log(), torch.log1p(-confidence_N)).mean())


@torch.no_grad()
def ece(confidence_N: Tensor, correct_N: Tensor, bins: int = 10, low: float = 0.5) -> float:
    """Expected calibration error (Guo et al. 2017): mean |accuracy - confidence| over bins, by their size.

    bins: of equal width on [low, 1], each closed on the left; low is 0.5 for the chosen one of two. In [0, 1]; 0 is
    calibrated. Raises ValueError if there is none, or a confidence lies outside [low, 1].
    """
    _check_filled(confidence_N)
    confidence_N, correct_N = confidence_N.double(), correct_N.double()
    if not bool(((confidence_N >= low) & (confidence_N <= 1)).all()):
        raise ValueError(f"a confidence lies outside [{low}, 1]")
    bin_N = ((confidence_N - low) / (1 - low) * bins).long().clamp(max=bins - 1)
    gap_bins = torch.zeros(bins, dtype=torch.float64, device=bin_N.device)
    return float(gap_bins.index_add(0, bin_N, correct_N - confidence_N).abs().sum() / len(confidence_N))


def wilson(successes: float, n: float, z: float = Z_95) -> tuple[float, float]:
    """(low, high) of Wilson's score interval (1927) for a share; 95 % unless z says otherwise.

    It supposes independent trials: pairs of one prompt are not, so prefer bootstrap_ci with groups there.
    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"{successes} successes of {n}: the count must be positive and the successes within it")
    share, shrink = successes / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # The bounds are exactly 0 and 1 at the ends; floating point misses them by an ulp.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def _check_filled(values: Tensor) -> None:
    if values.numel() == 0:
        raise ValueError("there is nothing to measure: no pairs were given")
