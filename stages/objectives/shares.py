"""Shares of right answers: Wilson's interval, the difference of two shares on the same items, McNemar's test.

For right and wrong these beat a bootstrap, which knows nothing of what it has not seen: where all answers are right, or
two candidates never differ, its interval has no width. Counts and the standard library only, so that light modules may
import it.
"""

from __future__ import annotations

import math
from statistics import NormalDist

LEVEL = 0.95  # of every interval unless it says otherwise


def two_sided_z(level: float) -> float:
    """The standard normal's quantile that leaves (1 - level) / 2 on either side: 1.96 at 0.95."""
    return NormalDist().inv_cdf((1 + level) / 2)


def wilson(successes: float, n: float, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) of Wilson's score interval (1927) for a share.

    It supposes independent trials: pairs of one prompt are not, so prefer bootstrap_ci with groups there, or give the
    number of independent trials that they are worth: neither count need be whole.
    Raises ValueError unless 0 <= successes <= n and n > 0.
    """
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"{successes} successes of {n}: the count must be positive and the successes within it")
    z = two_sided_z(level)
    share, shrink = successes / n, 1 + z**2 / n
    centre = (share + z**2 / (2 * n)) / shrink
    half = z / shrink * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # The bounds are exactly 0 and 1 at the ends; floating point misses them by an ulp.
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def paired_shares(only_a: int, only_b: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) for share of a less share of b on the same n items; only_a: items where a alone is right.

    Bonett and Price 2012, equation 3: p = (only + 1) / (n + 2) for either, and (p_a - p_b) +- z sqrt((p_a + p_b -
    (p_a - p_b)^2) / (n + 2)). The added items keep its coverage near the level where few answers differ (Fagerland et
    al. 2014 recommend it), and give it a width where none does. Kept within [-1, 1].
    Raises ValueError unless the counts are of n items.
    """
    if n < 1 or min(only_a, only_b) < 0 or only_a + only_b > n:
        raise ValueError(f"{only_a} and {only_b} of {n} items: the counts must be of so many")
    p_a, p_b = (only_a + 1) / (n + 2), (only_b + 1) / (n + 2)
    half = two_sided_z(level) * math.sqrt((p_a + p_b - (p_a - p_b) ** 2) / (n + 2))
    return max(-1.0, p_a - p_b - half), min(1.0, p_a - p_b + half)


def mcnemar(only_a: int, only_b: int) -> float:
    """The exact two-sided p-value that two candidates are right equally often (McNemar 1947).

    Under that null an item where one alone is right is a coin's toss: 2 P(Binomial(only_a + only_b, 1/2) <= the smaller
    one), at most 1; 1 where they never differ. Raises ValueError for negative counts.
    """
    if min(only_a, only_b) < 0:
        raise ValueError(f"{only_a} and {only_b} are no counts")
    n, term, total = only_a + only_b, 1, 0
    for k in range(min(only_a, only_b) + 1):  # whole numbers: exact however small p gets
        total += term
        term = term * (n - k) // (k + 1)
    return min(1.0, 2 * total / (1 << n))
