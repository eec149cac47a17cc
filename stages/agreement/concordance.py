"""Kendall's W and tau-b: how alike whole rankings are, with corrections for ties."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from stages.agreement.intervals import Figure, mean_by_task
from stages.agreement.judged import Floats, Judged, average_ranks, pair_positions


def kendall_w(ranks_AK: Floats) -> float | None:
    """Kendall's coefficient of concordance of complete rankings (Kendall and Smith 1939), corrected for ties.

    (12 sum R^2 - 3 A^2 K (K + 1)^2) / (A^2 K (K^2 - 1) - A sum (t^3 - t)), R a completion's summed average ranks and t
    the size of each group of ties. 0 to 1; people who guess reach 1 / A on average, not 0. None for fewer than two
    rankings, or where every one of them is tied throughout.
    """
    num, count = ranks_AK.shape
    if num < 2:
        return None
    average_AK = np.array([average_ranks(ranks_K) for ranks_K in ranks_AK])
    sums_K = average_AK.sum(0)
    ties = sum(int((t**3 - t).sum()) for t in (np.unique(row, return_counts=True)[1] for row in ranks_AK))
    below = num**2 * count * (count**2 - 1) - num * ties
    if below == 0:
        return None
    return float((12 * (sums_K**2).sum() - 3 * num**2 * count * (count + 1) ** 2) / below)


def tau_b(ranks_K: Floats, other_K: Floats) -> float | None:
    """Kendall's tau-b of two rank vectors in the same order of completions, over those that both ranked.

    Concordant less discordant pairs, over the geometric mean of the pairs that each of the two does not tie. None where
    one of them ties everything.
    """
    both_K = ~np.isnan(ranks_K + other_K)
    first_P, second_P = pair_positions(int(both_K.sum()))
    one_P, other_P = (np.sign(r[both_K][first_P] - r[both_K][second_P]) for r in (ranks_K, other_K))
    below = np.sqrt((one_P**2).sum() * (other_P**2).sum())
    return float((one_P * other_P).sum() / below) if below else None


def mean_w(tasks: Sequence[Judged], seed: int = 0) -> Mapping[int, Figure]:
    """For each number of annotators who ranked all of a task: the mean W of those tasks.

    Not one mean over all, because W's level under chance is 1 over the number of annotators.
    """
    found: dict[int, list[float]] = defaultdict(list)
    for task in tasks:
        w = kendall_w(task.complete_AK)
        if w is not None:
            found[len(task.complete_AK)].append(w)
    return {
        num: mean_by_task(np.array(own), np.ones(len(own)), f"tasks ranked by {num}", seed)
        for num, own in sorted(found.items())
    }


def tau_matrix(tasks: Sequence[Judged]) -> Mapping[tuple[str, str], Figure]:
    """For every two annotators who meet: the mean of tau-b over the tasks in which it is defined for both."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for task in tasks:
        for a, b in combinations(range(len(task.annotators)), 2):
            tau = tau_b(task.ranks_AK[a], task.ranks_AK[b])
            if tau is not None:
                one, other = sorted((task.annotators[a], task.annotators[b]))
                found[one, other].append(tau)
    return {both: Figure(float(np.mean(own)), len(own), "tasks") for both, own in sorted(found.items())}
