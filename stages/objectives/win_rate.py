"""Win rates that a longer answer does not win.

Judges, people and models, prefer longer answers. The length-controlled win rate asks what the preference would be if
both answers were as long: Dubois et al. 2024, "Length-Controlled AlpacaEval". Shapes: N prompts, R resamples.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from stages.objectives.shares import LEVEL
from stages.objectives.statistics import draws, percentiles

PRIOR = 1e-4  # 1 / variance of the coefficients: N(0, 100^2)
NUM_STEPS = 40  # of Newton; a dozen suffice where wins and losses overlap
LARGEST_STEP = 2.0  # in a coefficient: beyond, Newton overshoots where one side nearly always wins
WEIGHTS_A_CHUNK = 2_000_000  # of resamples held at once: 16 MB, a few times


def length_controlled_win_rate(
    preference_N: Tensor | Sequence[float],
    length_difference_N: Tensor | Sequence[float],
    num_resamples: int = 2000,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """(rate, low, high): sigmoid(theta), the preference at equal lengths, with its percentile interval over prompts.

    P(preferred) = sigmoid(theta + phi tanh(length difference / its standard deviation)), the paper's equation 2 for one
    pair of models; theta and phi by maximum likelihood.
    preference_N: 1 where the candidate's answer is preferred, 0 where the other's is, between for a tie or a
    probability. length_difference_N: the candidate's length less the other's, in any unit.
    Equal lengths throughout give the plain win rate; so does one difference throughout, which nothing can tell from a
    preference. Where we differ from the paper: no difficulty of each instruction
    (its gamma, learnt from the answers of many models, of which a recipe has few); a weak prior N(0, 100^2) on both
    coefficients, which keeps them finite where one side always wins and is the only penalty (the paper picks one for
    phi by cross-validation); and an interval.
    Raises ValueError if there is no value, the lengths differ, or a preference lies outside [0, 1].
    """
    preference_N, length_N = (
        torch.as_tensor(x, dtype=torch.float64, device="cpu").flatten() for x in (preference_N, length_difference_N)
    )
    if preference_N.shape != length_N.shape or not len(preference_N):
        raise ValueError(f"{len(preference_N)} preferences with {len(length_N)} length differences: give one for each")
    if not bool(((preference_N >= 0) & (preference_N <= 1)).all()):
        raise ValueError("a preference lies outside [0, 1]")
    deviation = length_N.std(correction=0)
    length_N = torch.tanh(length_N / deviation) if deviation > 0 else torch.zeros_like(length_N)
    rate = float(_at_equal_length(preference_N, length_N, torch.ones(1, len(length_N), dtype=torch.float64)))
    rates_R = torch.cat(
        [_at_equal_length(preference_N, length_N, times) for times in _resamples(len(length_N), num_resamples, seed)]
    )
    return rate, *percentiles(rates_R, (1 - level) / 2)


def _at_equal_length(preference_N: Tensor, length_N: Tensor, times_RN: Tensor) -> Tensor:
    """sigmoid(theta) [R] of the regressions in which each prompt counts so many times, by Newton, all at once."""
    theta_R = torch.zeros(len(times_RN), dtype=torch.float64)
    phi_R = torch.zeros_like(theta_R)
    for _ in range(NUM_STEPS):
        p_RN = torch.sigmoid(theta_R[:, None] + phi_R[:, None] * length_N)
        miss_RN, spread_RN = times_RN * (preference_N - p_RN), times_RN * p_RN * (1 - p_RN)
        slope_theta, slope_phi = miss_RN.sum(1) - PRIOR * theta_R, miss_RN @ length_N - PRIOR * phi_R
        curve_theta, curve_both, curve_phi = spread_RN.sum(1) + PRIOR, spread_RN @ length_N, spread_RN @ length_N**2
        curve_phi = curve_phi + PRIOR
        area = curve_theta * curve_phi - curve_both**2
        step_theta = (curve_phi * slope_theta - curve_both * slope_phi) / area
        step_phi = (curve_theta * slope_phi - curve_both * slope_theta) / area
        theta_R += step_theta.clamp(-LARGEST_STEP, LARGEST_STEP)
        phi_R += step_phi.clamp(-LARGEST_STEP, LARGEST_STEP)
        if float(torch.maximum(step_theta.abs(), step_phi.abs()).max()) < 1e-9:
            break
    return torch.sigmoid(theta_R)


def _resamples(n: int, num_resamples: int, seed: int) -> Iterator[Tensor]:
    """How often each of n prompts is drawn, [R, N] in chunks."""
    for drawn_RN in draws(n, num_resamples, seed, held=WEIGHTS_A_CHUNK):
        ones_RN = torch.ones_like(drawn_RN, dtype=torch.float64)
        yield torch.zeros_like(ones_RN).scatter_add(1, drawn_RN, ones_RN)
