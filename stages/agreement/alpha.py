"""Krippendorff's alpha: agreement beyond chance among any number of annotators, with gaps (Krippendorff 2011).

alpha = 1 - observed disagreement / that expected by chance. 1 is perfect, 0 is chance, below 0 is worse than chance.
Shapes: A annotators, U units (here a completion of a task), V different values, T tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.agreement.intervals import Figure, by_bootstrap
from stages.agreement.judged import Floats, Integers, Judged, normalised


@dataclass(frozen=True)
class Parts:
    """Of each unit that at least two annotators judged: its values, and how much they differ."""

    counts_UV: Floats
    observed_U: Floats
    delta_VV: Floats  # the difference between two values
    unit_U: Integers  # which units these are


def alpha(ratings_AU: Floats, metric: str = "interval") -> float | None:
    """Alpha of ratings, NaN where an annotator gave none.

    metric: nominal, ordinal or interval. None where no unit has two ratings, or all ratings are one value: then nothing
    could have differed, and neither 0 nor 1 would be true.
    """
    found = parts(np.asarray(ratings_AU, float), metric)
    value = float(_alpha_of(found)(_totals(found).sum(0, keepdims=True))[0])
    return None if np.isnan(value) else value


def rank_alpha(tasks: Sequence[Judged], seed: int = 0) -> Figure:
    """Interval alpha on normalised ranks, resampling whole tasks.

    On raw ranks, guessing over tasks of 2 and of 8 completions alike would seem to agree (alpha .27), because the
    number of completions moves everybody's ranks together. Normalised ranks put chance at 0.
    """
    names = sorted({name for task in tasks for name in task.annotators})
    row = {name: i for i, name in enumerate(names)}
    task_U = np.repeat(np.arange(len(tasks)), [task.ranks_AK.shape[1] for task in tasks])
    ratings_AU = np.full((len(names), len(task_U)), np.nan)
    start = 0
    for task in tasks:
        width = task.ranks_AK.shape[1]
        for name, ranks_K in zip(task.annotators, task.ranks_AK, strict=True):
            ratings_AU[row[name], start : start + width] = normalised(ranks_K)
        start += width
    found = parts(ratings_AU, "interval")
    totals_UF = _totals(found)
    totals_TF = np.zeros((len(tasks), totals_UF.shape[1]))
    np.add.at(totals_TF, task_U[found.unit_U], totals_UF)
    return by_bootstrap(totals_TF, _alpha_of(found), len(found.unit_U), "completions ranked by two or more", seed)


def parts(ratings_AU: Floats, metric: str) -> Parts:
    """What alpha is made of, by unit."""
    annotator, unit = np.nonzero(~np.isnan(ratings_AU))
    values_V, value = np.unique(ratings_AU[annotator, unit], return_inverse=True)
    counts_UV = np.zeros((ratings_AU.shape[1], len(values_V)))
    np.add.at(counts_UV, (unit, value), 1)
    (kept_U,) = np.nonzero(counts_UV.sum(1) >= 2)
    counts_UV = counts_UV[kept_U]
    delta_VV = METRICS[metric](values_V, counts_UV.sum(0))
    observed_U = ((counts_UV @ delta_VV) * counts_UV).sum(1) / np.maximum(counts_UV.sum(1) - 1, 1)
    return Parts(counts_UV, observed_U, delta_VV, kept_U)


def _totals(found: Parts) -> Floats:
    return np.concatenate([found.observed_U[:, None], found.counts_UV], 1)


def _alpha_of(found: Parts) -> Callable[[Floats], Floats]:
    """Summed totals [..., 1 + V] -> alpha."""

    def statistic(totals: Floats) -> Floats:
        observed, counts = totals[..., 0], totals[..., 1:]
        expected = ((counts @ found.delta_VV) * counts).sum(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(expected > 0, (counts.sum(-1) - 1) * observed / expected, np.nan)
        return np.asarray(1 - ratio, dtype=float)

    return statistic


def _nominal(values_V: Floats, counts_V: Floats) -> Floats:
    return 1.0 - np.eye(len(values_V))


def _interval(values_V: Floats, counts_V: Floats) -> Floats:
    return np.asarray(np.subtract.outer(values_V, values_V) ** 2, dtype=float)


def _ordinal(values_V: Floats, counts_V: Floats) -> Floats:
    """How many ratings lie between two values, half of each end included."""
    return _interval(np.cumsum(counts_V) - counts_V / 2, counts_V)


METRICS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "nominal": _nominal,
    "ordinal": _ordinal,
    "interval": _interval,
}
