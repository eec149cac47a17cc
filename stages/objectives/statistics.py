"""Means and correlations with their intervals. A bootstrap's seed is an argument and its generator its own: same
input, same answer."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from statistics import NormalDist

import torch
from torch import Tensor

from stages.objectives.shares import LEVEL, two_sided_z

DRAWS_A_CHUNK = 4_000_000  # of resampled indices held at once: 32 MB


def bootstrap_ci(
    values_N: Tensor | Sequence[float],
    num_resamples: int = 2000,
    seed: int = 0,
    groups: Tensor | Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """(mean, low, high): the mean and its interval, at `level`, by the expanded percentiles (Hesterberg 2015, section
    5.3.2) of the bootstrap (Efron 1979).

    Plain percentiles are too narrow: by the factor sqrt((n - 1) / n), and for want of Student's t. Expanded ones are
    taken further out, at Phi(-sqrt(n / (n - 1)) t), so that for values spread evenly the interval is Student's, and
    for skewed ones keeps the bootstrap's shape. Covering 95 % in 1,000 simulations (bench/coverage.py): of 10 normal
    values 94.7 % (plain: 90.5), of 60 exponential ones 92.7 (91.9). Where most values are equal, as differences of
    right and wrong are, 92.9 of 60, against 88.5 of the bias-corrected bootstrap (BCa): see paired_shares for those.

    groups: one label a value, such as its prompt; whole groups are then resampled, since values of one group are not
    independent (a cluster bootstrap), and the mean is over the values drawn; n is the number of groups. One value or
    group gives low = high. Raises ValueError if there is no value, one is not finite, or the labels are not as many as
    the values.
    """
    values_N = torch.as_tensor(values_N, dtype=torch.float64, device="cpu").detach().flatten()
    if values_N.numel() == 0 or not bool(values_N.isfinite().all()):
        raise ValueError("a bootstrap needs at least one value, and finite ones")
    if num_resamples < 1:
        raise ValueError(f"num_resamples is {num_resamples}: it must be positive")
    sums_G, counts_G = _by_group(values_N, groups)
    means_R = _resampled_means(sums_G, counts_G, num_resamples, seed)
    return float(values_N.mean()), *percentiles(means_R, _expanded_tail((1 - level) / 2, len(sums_G)))


def paired_bootstrap(
    a_N: Tensor | Sequence[float],
    b_N: Tensor | Sequence[float],
    num_resamples: int = 2000,
    seed: int = 0,
    groups: Tensor | Sequence[Hashable] | None = None,
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """(mean of a - b, low, high): two candidates measured on the same items, resampled together.

    An interval without 0 says that they differ. The rest as in bootstrap_ci; also ValueError if the lengths differ.
    """
    a_N, b_N = (torch.as_tensor(x, dtype=torch.float64, device="cpu").flatten() for x in (a_N, b_N))
    if a_N.shape != b_N.shape:
        raise ValueError(f"a pair needs both: {len(a_N)} values against {len(b_N)}")
    return bootstrap_ci(a_N - b_N, num_resamples, seed, groups, level)


def correlation(a_N: Tensor | Sequence[float], b_N: Tensor | Sequence[float]) -> tuple[float, float, float]:
    """(r, low, high): Pearson's r and its 95 % interval, tanh(atanh r +- 1.96 / sqrt(N - 3)) (Fisher 1921).

    Nothing is known, (0, -1, 1), where one of them is constant or N < 4. Raises ValueError if the lengths differ.
    """
    a_N, b_N = (torch.as_tensor(x, dtype=torch.float64, device="cpu").detach().flatten() for x in (a_N, b_N))
    if a_N.shape != b_N.shape:
        raise ValueError(f"a pair needs both: {len(a_N)} values against {len(b_N)}")
    if len(a_N) < 4 or a_N.std() == 0 or b_N.std() == 0:
        return 0.0, -1.0, 1.0
    r = float(torch.corrcoef(torch.stack([a_N, b_N]))[0, 1])
    z = math.atanh(max(-1 + 1e-12, min(r, 1 - 1e-12)))
    half = two_sided_z(LEVEL) / math.sqrt(len(a_N) - 3)
    return r, math.tanh(z - half), math.tanh(z + half)


def draws(n: int, num_resamples: int, seed: int, width: int = 1, held: int = DRAWS_A_CHUNK) -> Iterator[Tensor]:
    """Which of n items each resample draws, [R, n] in chunks of at most `held` numbers; `width` are held an item."""
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, held // (width * n))
    for start in range(0, num_resamples, rows):
        yield torch.randint(n, (min(rows, num_resamples - start), n), generator=generator)


def percentiles(values_R: Tensor, tail: float = (1 - LEVEL) / 2) -> tuple[float, float]:
    """(low, high) with `tail` of the values outside on either side."""
    low, high = torch.quantile(values_R, torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return low, high


def _expanded_tail(tail: float, n: int) -> float:
    """Phi(-sqrt(n / (n - 1)) t(tail, n - 1)): the share to cut off so that the resampled means' spread is Student's."""
    from scipy.special import stdtrit  # the quantile of Student's t

    if n == 1:
        return tail
    return NormalDist().cdf(math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, tail)))


def _by_group(values_N: Tensor, groups: Tensor | Sequence[Hashable] | None) -> tuple[Tensor, Tensor]:
    """Sum and count of the values of each group; each value is a group of its own without labels."""
    if groups is None:
        return values_N, torch.ones_like(values_N)
    if len(groups) != len(values_N):
        raise ValueError(f"{len(groups)} group labels for {len(values_N)} values")
    # A tensor's elements hash by identity, so each would be a group of its own.
    labels: Sequence[Hashable] = groups.tolist() if isinstance(groups, Tensor) else groups
    number: dict[Hashable, int] = {}
    group_N = torch.tensor([number.setdefault(label, len(number)) for label in labels])
    empty_G = torch.zeros(len(number), dtype=torch.float64)
    return empty_G.index_add(0, group_N, values_N), empty_G.index_add(0, group_N, torch.ones_like(values_N))


def _resampled_means(sums_G: Tensor, counts_G: Tensor, num_resamples: int, seed: int) -> Tensor:
    drawn = draws(len(sums_G), num_resamples, seed)
    return torch.cat([sums_G[drawn_RG].sum(-1) / counts_G[drawn_RG].sum(-1) for drawn_RG in drawn])
