"""Does a reward model order pairs as people did, and does its confidence mean what it says?

confidence_N: the probability it gives its own choice, sigmoid(|score difference|), in [0.5, 1].
correct_N: 1 where that choice is the people's, else 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


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


@torch.no_grad()
def ece_by_chance(confidence_N: Tensor, bins: int = 10, num_draws: int = 200, seed: int = 0) -> float:
    """The ECE that a perfectly calibrated model with these confidences shows on average, on so few pairs.

    The mean over draws in which a choice is right with its own confidence, independently. Falls to 0 as pairs grow in
    number; an ECE is news only above it. Raises ValueError as `ece` does.
    """
    _check_filled(confidence_N)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(num_draws, len(confidence_N), generator=generator) < confidence_N.cpu()
    return sum(ece(confidence_N.cpu(), correct_N, bins) for correct_N in drawn) / num_draws


@torch.no_grad()
def fit_temperature(difference_P: Tensor) -> float:
    """The T that minimises mean(-log sigmoid(difference / T)), in [0, inf] (Guo et al. 2017, section 4.2).

    difference_P: the winner's score less the loser's. Above 1: the model was too sure; below: not sure enough. inf
    where the mean difference is not positive, since no T > 0 makes such scores better than a coin; 0 where no
    difference is negative. The mean is convex in 1/T, so its slope is bisected. Raises ValueError if there is none.
    """
    _check_filled(difference_P)
    difference_P = difference_P.double()
    if float(difference_P.mean()) <= 0:
        return math.inf
    if bool((difference_P >= 0).all()):
        return 0.0

    def falls(inverse: float) -> bool:
        return float((difference_P * torch.sigmoid(-inverse * difference_P)).mean()) > 0

    low, high = 0.0, 1.0
    while falls(high):
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if falls(middle) else (low, middle)
    return 1 / high


def agreement_ceiling(agreement: float) -> tuple[float, float]:
    """(low, high) of the best accuracy on single annotators' labels where two of them agree at rate A = `agreement`.

    [A, (1 + sqrt(2A - 1)) / 2]: with q the share of annotators on a pair's majority side, A = E[q^2 + (1 - q)^2] and
    the ceiling is E[q]. Low: every pair is either unanimous or even; high: all are equally hard. A under 0.5 can only
    be chance and counts as 0.5. Raises ValueError outside [0, 1].
    """
    if not 0 <= agreement <= 1:
        raise ValueError(f"agreement is {agreement}: it is a share, from 0 to 1")
    agreement = max(agreement, 0.5)
    return agreement, (1 + math.sqrt(2 * agreement - 1)) / 2


def _check_filled(values: Tensor) -> None:
    if values.numel() == 0:
        raise ValueError("there is nothing to measure: no pairs were given")
