"""Two candidates on the same items, and many of them: how large the difference is, how sure, and what it would take.

Shapes: N items, both candidates' values in the same order. Values that are all 0 or 1 are right and wrong: their
intervals and tests are those of shares.py. Of other values the mean is compared, by a bootstrap and by signs flipped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.objectives.shares import LEVEL, mcnemar, paired_shares, two_sided_z, wilson
from stages.objectives.statistics import bootstrap_ci, paired_bootstrap

POWER = 0.8
NUM_RESAMPLES = 10_000  # since a correction for many comparisons looks far out in the tails
FLIPS_A_CHUNK = 4_000_000  # of random signs held at once: 16 MB

Values = Sequence[float]
Pair = tuple[Values, Values]


@dataclass(frozen=True)
class Difference:
    """The mean of a - b with its interval and p-value, both corrected for the other comparisons made beside it."""

    mean: float
    low: float
    high: float
    level: float  # of the interval
    p: float
    n: int  # items
    needed: float  # items with which a difference as large is found with 80 % power at this level; may be inf
    detectable: float  # the least difference that these n items find with that power

    @property
    def is_told(self) -> bool:
        """Whether a and b can be told apart: interval and test must agree, since neither is exact for every kind."""
        return self.p <= 1 - LEVEL and (self.low > 0 or self.high < 0)


def interval(values_N: Values, level: float = LEVEL) -> tuple[float, float, float]:
    """(mean, low, high) of one candidate: Wilson's of a share, else by bootstrap. ValueError if there is no value."""
    if _are_right_or_wrong(values_N):
        return sum(values_N) / len(values_N), *wilson(sum(values_N), len(values_N), level)
    return bootstrap_ci(values_N, NUM_RESAMPLES, level=level)


def difference(a_N: Values, b_N: Values, level: float = LEVEL) -> tuple[float, float, float]:
    """(mean of a - b, low, high), paired: paired_shares of right and wrong, else by bootstrap.

    Raises ValueError if there is no value or the lengths differ.
    """
    if _are_right_or_wrong(a_N) and _are_right_or_wrong(b_N):
        only_a, only_b = _alone(a_N, b_N)
        return (only_a - only_b) / len(a_N), *paired_shares(only_a, only_b, len(a_N), level)
    return paired_bootstrap(a_N, b_N, NUM_RESAMPLES, level=level)


def p_value(a_N: Values, b_N: Values) -> float:
    """That a and b have the same mean: McNemar's exact test of right and wrong, else sign_flip.

    The two are one test: flipping the signs of differences that are -1, 0 and 1 in all ways is McNemar's.
    """
    if _are_right_or_wrong(a_N) and _are_right_or_wrong(b_N):
        return mcnemar(*_alone(a_N, b_N))
    return sign_flip([a - b for a, b in zip(a_N, b_N, strict=True)])


def sign_flip(difference_N: Tensor | Values, num_resamples: int = NUM_RESAMPLES, seed: int = 0) -> float:
    """Two-sided p-value, in (0, 1], that paired differences lie evenly about 0 (Fisher 1935's randomisation test).

    The share of random signs under which |sum of differences| is at least the one found, that one counted among them
    (Phipson and Smyth 2010), so it is never below 1 / (num_resamples + 1) and is valid at any N. Unlike Wilcoxon's
    test it is about the mean, which the interval beside it shows. 1 where no item differs.
    """
    difference_N = torch.as_tensor(difference_N, dtype=torch.float32).flatten()
    difference_N = difference_N[difference_N != 0]
    if not len(difference_N):
        return 1.0
    generator, found = torch.Generator().manual_seed(seed), 1
    least = float(difference_N.sum().abs()) - 1e-5 * float(difference_N.abs().sum())  # equal sums, but for rounding
    rows = max(1, FLIPS_A_CHUNK // len(difference_N))
    for start in range(0, num_resamples, rows):
        kept_RN = torch.rand(min(rows, num_resamples - start), len(difference_N), generator=generator) < 0.5
        sums_R = 2 * (kept_RN.float() @ difference_N) - difference_N.sum()
        found += int((sums_R.abs() >= least).sum())
    return found / (num_resamples + 1)


def holm(p_M: Sequence[float]) -> list[float]:
    """p-values corrected for being one of M (Holm 1979): with none below 0.05, one true null in 20 families is called
    false, however the comparisons depend on each other.

    The k-th smallest times M - k + 1, never less than the one before it, at most 1.
    """
    adjusted, so_far = [0.0] * len(p_M), 0.0
    for rank, place in enumerate(_by_size(p_M)):
        so_far = max(so_far, min(1.0, (len(p_M) - rank) * p_M[place]))
        adjusted[place] = so_far
    return adjusted


def compare(pairs_M: Sequence[Pair]) -> list[Difference]:
    """Every pair's difference, with Holm's correction over all: what one may read off many comparisons at once.

    The interval of the pair with the k-th smallest p-value is at 1 - 0.05 / (M - k + 1), the level at which Holm tests
    it. Raises ValueError as `difference` does.
    """
    p_M = [p_value(a, b) for a, b in pairs_M]
    levels_M = [0.0] * len(p_M)
    for rank, place in enumerate(_by_size(p_M)):
        levels_M[place] = 1 - (1 - LEVEL) / (len(p_M) - rank)
    return [
        Difference(*difference(a, b, level), level, p, len(a), items_needed(a, b, level), detectable(a, b, level))
        for (a, b), p, level in zip(pairs_M, holm(p_M), levels_M, strict=True)
    ]


def items_needed(a_N: Values, b_N: Values, level: float = LEVEL, power: float = POWER) -> float:
    """How many items find the mean difference seen here, were it the true one, with this power; inf where it is 0.

    (z_level sqrt(E[d^2]) + z_power sqrt(E[d^2] - E[d]^2))^2 / E[d]^2, rounded up, with d = a - b. Of right and wrong
    E[d^2] is the share of items where they differ, and this is Connor's (1987) for McNemar's test. A plan for the next
    evaluation, not a property of this one: the difference seen is itself uncertain.
    """
    mean, square = _moments(a_N, b_N)
    if mean == 0:
        return math.inf
    z_level, z_power = two_sided_z(level), two_sided_z(2 * power - 1)
    root = z_level * math.sqrt(square) + z_power * math.sqrt(max(0.0, square - mean**2))
    return float(math.ceil(root**2 / mean**2 - 1e-9))  # rounding alone would add an item


def detectable(a_N: Values, b_N: Values, level: float = LEVEL, power: float = POWER) -> float:
    """The least mean difference that N such items find with this power: (z_level + z_power) sd(a - b) / sqrt(N)."""
    mean, square = _moments(a_N, b_N)
    deviation = math.sqrt(max(0.0, square - mean**2))
    return (two_sided_z(level) + two_sided_z(2 * power - 1)) * deviation / math.sqrt(len(a_N))


def _are_right_or_wrong(values_N: Values) -> bool:
    return len(values_N) > 0 and all(value in (0, 1) for value in values_N)


def _alone(a_N: Values, b_N: Values) -> tuple[int, int]:
    """On how many items a alone is right, and b alone."""
    pairs = list(zip(a_N, b_N, strict=True))
    return sum(a > b for a, b in pairs), sum(b > a for a, b in pairs)


def _moments(a_N: Values, b_N: Values) -> tuple[float, float]:
    """E[d] and E[d^2] of d = a - b."""
    d_N = [a - b for a, b in zip(a_N, b_N, strict=True)]
    return math.fsum(d_N) / len(d_N), math.fsum(d**2 for d in d_N) / len(d_N)


def _by_size(p_M: Sequence[float]) -> list[int]:
    return sorted(range(len(p_M)), key=lambda place: p_M[place])
