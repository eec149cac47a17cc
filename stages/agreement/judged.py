"""Answers laid out by task: a row an annotator, a column a completion. What every statistic of agreement reads.

Shapes: A annotators of one task, K completions, P = K (K - 1) / 2 pairs of them, M meetings of two annotators.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Kind, is_usable
from stages.annotation.times import EARLIEST, moment

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NORMAL: tuple[Kind, ...] = ("normal",)


@dataclass(frozen=True)
class Judged:
    """One task and the rankings of it; 1 is best, equal is a tie, NaN was not ranked."""

    task_id: str
    annotators: tuple[str, ...]
    ranks_AK: Floats

    @property
    def complete_AK(self) -> Floats:
        """The rows of those who ranked every completion."""
        return self.ranks_AK[~np.isnan(self.ranks_AK).any(1)]


@dataclass(frozen=True)
class Meetings:
    """Every time that two annotators judged the same pair of completions."""

    task_M: Integers  # position of the task in what was given
    who_M2: Integers  # positions of the two in `annotators`
    agreement_M: Floats  # see `agreement`
    apart_M: NDArray[np.bool_]  # whether neither called it a tie
    annotators: tuple[str, ...]
    num_tasks: int

    def by_task(self, chosen_M: Any) -> tuple[Floats, Floats]:
        """([T] summed agreement, [T] number) of the chosen meetings."""
        task_M = self.task_M[chosen_M]
        sums_T = np.bincount(task_M, self.agreement_M[chosen_M], self.num_tasks).astype(float)
        return sums_T, np.bincount(task_M, minlength=self.num_tasks).astype(float)


def kind_of(batch: Batch, task_id: str) -> Kind:
    """What a task is for; only the key knows."""
    kind: Kind = batch.key.get(task_id, {}).get("kind", "normal")
    return kind


def newest(answers: Iterable[Answer]) -> list[Answer]:
    """One answer for each task and annotator, where an import kept several: the last one given."""
    ordered = sorted(answers, key=lambda answer: (moment(answer.submitted_at) or EARLIEST, answer.revision))
    found = {answer.key: answer for answer in ordered}
    return sorted(found.values(), key=lambda answer: (answer.task_id, answer.annotator))


def check_tasks(batch: Batch, answers: Iterable[Answer]) -> None:
    """DataError for an answer to a task that the batch does not have, or with ids that the task does not have."""
    for answer in answers:
        task = batch.by_id.get(answer.task_id)
        if task is None or not set(answer.ranks) <= set(task.ids):
            problem = "is no task of" if task is None else "was answered under ids that are not its own in"
            raise DataError(
                f"{problem} batch {batch.batch_id}",
                where=f"task {answer.task_id}, annotator {answer.annotator}",
                remedy="import the files that were sent out with this batch, and no others",
            )


def by_task(batch: Batch, answers: Iterable[Answer], kinds: Collection[Kind] = NORMAL) -> list[Judged]:
    """The usable rankings of the tasks of these kinds, in the batch's order; tasks that have none are left out.

    Gold tasks were chosen to be clear and repeats are seen twice, so neither says how people agree on the rest.
    """
    given: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        if is_usable(answer) and kind_of(batch, answer.task_id) in kinds:
            given[answer.task_id].append(answer)
    return [
        Judged(
            task.task_id,
            tuple(answer.annotator for answer in given[task.task_id]),
            np.array([[answer.ranks.get(c, np.nan) for c in task.ids] for answer in given[task.task_id]], float),
        )
        for task in batch.tasks
        if task.task_id in given
    ]


def pair_wins(ranks_AK: Floats) -> Floats:
    """[A, P] for the pairs (0, 1), (0, 2), ...: 1 where the first is ranked better, 0 worse, .5 for a tie, else NaN."""
    first_P, second_P = pair_positions(ranks_AK.shape[1])
    return (np.sign(ranks_AK[:, second_P] - ranks_AK[:, first_P]) + 1) / 2


@cache
def pair_positions(count: int) -> tuple[Integers, Integers]:
    """The first and the second of each pair among `count`: (0, 1), (0, 2), ..., (1, 2), ..."""
    first_P, second_P = np.triu_indices(count, 1)
    return first_P, second_P


def agreement(wins: Floats, other: Floats) -> Floats:
    """How probably two judgements agree, a tie being half a win for each side: p q + (1 - p)(1 - q).

    1 for the same winner, 0 for opposite ones, .5 as soon as one of them is a tie. So people who guess agree on .5 of
    the pairs however often they call a tie; the other usual rule, 1 for two ties, pays for calling everything one.
    """
    return wins * other + (1 - wins) * (1 - other)


def meetings(tasks: Sequence[Judged]) -> Meetings:
    """All meetings of all tasks."""
    names = tuple(sorted({name for task in tasks for name in task.annotators}))
    number = {name: i for i, name in enumerate(names)}
    task_M: list[Integers] = []
    who_M2: list[Integers] = []
    agreement_M: list[Floats] = []
    apart_M: list[NDArray[np.bool_]] = []
    for index, task in enumerate(tasks):
        wins_AP = pair_wins(task.ranks_AK)
        for a, b in combinations(range(len(task.annotators)), 2):
            both_P = ~np.isnan(wins_AP[a] + wins_AP[b])
            one, other = wins_AP[a, both_P], wins_AP[b, both_P]
            task_M.append(np.full(len(one), index))
            who_M2.append(np.tile([number[task.annotators[a]], number[task.annotators[b]]], (len(one), 1)))
            agreement_M.append(agreement(one, other))
            apart_M.append((one != 0.5) & (other != 0.5))
    return Meetings(
        np.concatenate([np.empty(0, int), *task_M]),
        np.concatenate([np.empty((0, 2), int), *who_M2]),
        np.concatenate([np.empty(0), *agreement_M]),
        np.concatenate([np.empty(0, bool), *apart_M]),
        names,
        len(tasks),
    )


def average_ranks(ranks_K: Floats) -> Floats:
    """Ranks with ties as the mean of the places that they share: 1, 2, 2, 3 becomes 1, 2.5, 2.5, 4; NaN stays."""
    below_KK = ranks_K[None, :] < ranks_K[:, None]
    equal_KK = ranks_K[None, :] == ranks_K[:, None]
    found: Floats = below_KK.sum(1) + (equal_KK.sum(1) + 1) / 2
    found[np.isnan(ranks_K)] = np.nan
    return found


def normalised(ranks_K: Floats) -> Floats:
    """(r - 1) / (K - 1) of the average ranks, K being what this annotator ranked: 0 best, 1 worst, all tied .5.

    Ranks of 2 and of 8 completions are then on one scale. NaN where fewer than two were ranked.
    """
    count = int((~np.isnan(ranks_K)).sum())
    if count < 2:
        return np.full_like(ranks_K, np.nan)
    return (average_ranks(ranks_K) - 1) / (count - 1)
