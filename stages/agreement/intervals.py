"""Figures with their 95% intervals: by bootstrap over tasks, or Wilson's for a share of independent events.

Shapes: T tasks, R resamples, F sums of which a figure is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.agreement.judged import Floats
from stages.objectives.shares import LEVEL, two_sided_z, wilson

NUM_RESAMPLES = 1000
FEW_TASKS = 10  # with fewer, resampling them says nothing
DRAWS_A_CHUNK = 1_000_000  # held at once: 8 MB, thrice


@dataclass(frozen=True)
class Figure:
    """A number with what it is from. `value` is None where there was nothing to say it from, `low` where too little."""

    value: float | None
    n: int  # how many, and of what
    of: str
    low: float | None = None
    high: float | None = None


def by_bootstrap(totals_TF: Floats, statistic: Callable[[Floats], Floats], n: int, of: str, seed: int = 0) -> Figure:
    """`statistic` of the tasks' summed totals, and its percentile interval over resampled tasks (Efron 1979).

    What is said of one task is not independent, so whole tasks are drawn. `statistic` maps [..., F] to [...], NaN
    where it is not defined; resamples in which it is not are left out of the interval.
    """
    value = float(statistic(totals_TF.sum(0, keepdims=True))[0]) if n else math.nan
    if math.isnan(value):
        return Figure(None, n, of)
    informed_TF = totals_TF[(totals_TF != 0).any(1)]
    if len(informed_TF) < FEW_TASKS:
        return Figure(value, n, of)
    found_R = statistic(_resampled(informed_TF, seed))
    if np.isnan(found_R).all():
        return Figure(value, n, of)
    low, high = np.nanpercentile(found_R, [2.5, 97.5])
    return Figure(value, n, of, float(low), float(high))


def mean_by_task(sums_T: Floats, counts_T: Floats, of: str, seed: int = 0) -> Figure:
    """sum / count over all tasks, with its interval by bootstrap."""
    return by_bootstrap(np.stack([sums_T, counts_T], 1), _ratio, int(counts_T.sum()), of, seed)


def share(hits: int, n: int, of: str) -> Figure:
    """hits / n with Wilson's interval (1927), which stays inside 0..1 and is not empty at 0 or n hits."""
    if n == 0:
        return Figure(None, 0, of)
    return Figure(hits / n, n, of, *wilson(hits, n))


def points_either_way(num_pairs: int) -> float:
    """By how much a share of `num_pairs` independent pairs can be off at 95% where it is near a half: 100 give .098."""
    return two_sided_z(LEVEL) * math.sqrt(0.25 / num_pairs)


def _ratio(totals: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(totals[..., 0] / totals[..., 1], dtype=float)


def _resampled(totals_TF: Floats, seed: int) -> Floats:
    """[R, F]: the sums over tasks drawn with replacement."""
    generator, num_tasks = np.random.default_rng(seed), len(totals_TF)
    rows = max(1, DRAWS_A_CHUNK // num_tasks)
    found = []
    for start in range(0, NUM_RESAMPLES, rows):
        size = min(rows, NUM_RESAMPLES - start)
        drawn_RT = generator.integers(num_tasks, size=(size, num_tasks)) + num_tasks * np.arange(size)[:, None]
        times_RT = np.bincount(drawn_RT.ravel(), minlength=size * num_tasks).reshape(size, num_tasks)
        found.append(times_RT.astype(float) @ totals_TF)
    return np.concatenate(found)
