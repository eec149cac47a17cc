"""Where people differ: the most disputed tasks, majorities in a circle, and people who contradict themselves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

from stages.agreement.judged import Floats, Judged, Meetings
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Task, is_usable
from stages.formats.records import canonical

NUM_DISPUTED = 20
PROMPT_CHARACTERS = 200  # of the prompt, enough to know it again


@dataclass(frozen=True)
class Disputed:
    """A task that people answered differently, with what they said about it."""

    task_id: str
    prompt: str  # the end of it
    agreement: float  # mean over the meetings of two annotators; ties half
    num_pairs: int
    ranks: Mapping[str, Mapping[str, int]]  # annotator -> completion id -> rank
    comments: Mapping[str, str]
    flags: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Cycle:
    """Three completions of which each beats the next, and the last the first."""

    task_id: str
    completions: tuple[str, str, str]  # ids, or texts where the pairs come from several tasks
    annotator: str | None = None  # None: by majority


@dataclass(frozen=True)
class Reversal:
    """Two answers by one annotator that order the same two texts under the same prompt differently."""

    annotator: str
    task_ids: tuple[str, str]
    completions: tuple[str, str]  # texts: preferred in the first task, in the second


def disputed(batch: Batch, answers: Sequence[Answer], tasks: Sequence[Judged], met: Meetings) -> list[Disputed]:
    """The tasks with the least agreement, the one with more pairs first where it is equal; full agreement is none."""
    sums_T, counts_T = met.by_task(slice(None))
    told = [(sums_T[t] / counts_T[t], -int(counts_T[t]), task.task_id) for t, task in enumerate(tasks) if counts_T[t]]
    given: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        given[answer.task_id].append(answer)
    return [
        Disputed(
            name,
            _end_of(batch.by_id[name]),
            float(value),
            -num,
            {a.annotator: dict(a.ranks) for a in given[name] if a.ranks},
            {a.annotator: a.comment for a in given[name] if a.comment.strip()},
            {a.annotator: list(a.flags) for a in given[name] if a.flags},
        )
        for value, num, name in sorted(told)[:NUM_DISPUTED]
        if value < 1
    ]


def majority_cycles(batch: Batch, tasks: Sequence[Judged]) -> list[Cycle]:
    """Condorcet's paradox: three completions whose majorities go in a circle, so that no order agrees with them all."""
    found = []
    for task in tasks:
        ids = batch.by_id[task.task_id].ids
        found += [Cycle(task.task_id, (ids[i], ids[j], ids[k])) for i, j, k in circles(_majorities(task.ranks_AK))]
    return found


def circles(beats_KK: Floats) -> list[tuple[int, int, int]]:
    """Every i, j, k with i beats j beats k beats i, each circle once and from its smallest member."""
    count = len(beats_KK)
    return [
        (i, j, k)
        for i, j, k in permutations(range(count), 3)
        if i < min(j, k) and beats_KK[i, j] and beats_KK[j, k] and beats_KK[k, i]
    ]


def own_contradictions(batch: Batch, answers: Sequence[Answer]) -> tuple[list[Reversal], list[Cycle]]:
    """Per annotator, over all tasks of one prompt: pairs of texts ordered both ways, and circles of three texts.

    One ranking cannot contradict itself; repeats, and pairs of one prompt that were judged apart, can.
    """
    judged: dict[tuple[str, str], list[Answer]] = defaultdict(list)
    for answer in answers:
        if is_usable(answer):
            judged[answer.annotator, canonical(batch.by_id[answer.task_id].messages)].append(answer)
    reversals: list[Reversal] = []
    cycles: list[Cycle] = []
    for (annotator, _), own in judged.items():
        if len(own) > 1:
            won = _won(batch, own)
            both_ways = [pair for pair in won if pair[0] < pair[1] and pair[::-1] in won]
            reversals += [Reversal(annotator, (won[pair], won[pair[::-1]]), pair) for pair in both_ways]
            cycles += _text_circles(annotator, won, {text for pair in both_ways for text in pair})
    return reversals, cycles


def _end_of(task: Task) -> str:
    text = str(task.messages[-1].get("content") or "") if task.messages else ""
    return text if len(text) <= PROMPT_CHARACTERS else "..." + text[-PROMPT_CHARACTERS:]


def _majorities(ranks_AK: Floats) -> Any:
    """[K, K]: whether more annotators rank i better than j than the other way round."""
    difference_AKK = np.sign(ranks_AK[:, None, :] - ranks_AK[:, :, None])
    return np.nansum(difference_AKK, 0) > 0


def _won(batch: Batch, own: Sequence[Answer]) -> dict[tuple[str, str], str]:
    """(better text, worse text) -> the first task in which it was said."""
    won: dict[tuple[str, str], str] = {}
    for answer in own:
        task = batch.by_id[answer.task_id]
        for better, worse in permutations(answer.ranks, 2):
            if answer.ranks[better] < answer.ranks[worse]:
                won.setdefault((task.text(better), task.text(worse)), answer.task_id)
    return won


def _text_circles(annotator: str, won: Mapping[tuple[str, str], str], reversed_: set[str]) -> list[Cycle]:
    """Circles among texts that the annotator did not also order both ways: those are told as reversals."""
    texts = sorted({text for pair in won for text in pair} - reversed_)
    beats = np.array([(one, other) in won for one in texts for other in texts], float).reshape(len(texts), len(texts))
    return [Cycle(won[texts[i], texts[j]], (texts[i], texts[j], texts[k]), annotator) for i, j, k in circles(beats)]
