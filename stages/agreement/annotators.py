"""One annotator's work: gold tasks, repeats, speed, habits, and agreement with the others. It reports; people decide.

Shapes: K completions of a task, P pairs of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from stages.agreement.intervals import Figure, mean_by_task, share
from stages.agreement.judged import Floats, Meetings, kind_of, normalised, pair_wins
from stages.annotation.batch import Batch
from stages.annotation.schema import UNTOUCHED, Answer, is_usable
from stages.annotation.suspects import is_fast


@dataclass(frozen=True)
class Annotator:
    """What is known of one person; every figure with what it is from."""

    name: str
    num_answers: int
    gold: Figure  # gold pairs ordered as the key says; a tie is half
    repeats: Figure  # pairs judged alike when the task came again
    first_position: Figure  # normalised rank of what was shown first: .5 without a habit, less where it is favoured
    left_wins: Figure  # of two: how often the one shown first wins
    by_position: tuple[float, ...]  # mean normalised rank of what was shown first, second, ...
    median_seconds: float | None  # active, of ranked tasks
    too_fast: Figure  # answers quicker than 2 s and fifteen words a second
    untouched: Figure  # answers whose order nobody moved, so far as the tool can tell
    as_shown: Figure  # tasks of three or more ranked exactly in the order shown
    as_shown_by_chance: float | None  # the share of those to expect of somebody who does not look at the order
    ties: Figure  # pairs
    skipped: Figure
    all_bad: Figure
    with_others: Figure  # agreement on the pairs that others judged too; ties half


def annotators(batch: Batch, answers: Sequence[Answer], met: Meetings, seed: int = 0) -> list[Annotator]:
    """Everybody who answered, by name."""
    names = sorted({answer.annotator for answer in answers})
    return [_annotator(batch, [a for a in answers if a.annotator == name], met, seed) for name in names]


def _annotator(batch: Batch, own: Sequence[Answer], met: Meetings, seed: int) -> Annotator:
    tasks = batch.by_id
    ranked = [answer for answer in own if is_usable(answer)]
    placed = [_by_position(answer) for answer in ranked if len(answer.shown) > 1]
    timed = [answer for answer in ranked if answer.active_seconds is not None]
    moved = [a for a in ranked if a.touched is not None or UNTOUCHED in a.warnings]
    several = [answer for answer in ranked if len(answer.shown) > 2 and len(answer.ranks) == len(answer.shown)]
    wins = [pair_wins(_ranks(answer, tasks[answer.task_id].ids)[None]) for answer in ranked]
    firsts = np.array([places[0] for places in placed if not np.isnan(places[0])])
    num = len(own)
    return Annotator(
        name=own[0].annotator,
        num_answers=num,
        gold=_gold(batch, ranked, seed),
        repeats=_repeats(batch, ranked, seed),
        first_position=mean_by_task(firsts, np.ones(len(firsts)), "tasks", seed),
        left_wins=_left_wins(ranked),
        by_position=_mean_places(placed),
        median_seconds=median(a.active_seconds for a in timed if a.active_seconds is not None) if timed else None,
        too_fast=share(sum(is_fast(a, tasks[a.task_id]) for a in timed), len(timed), "timed answers"),
        untouched=share(sum(not a.touched or UNTOUCHED in a.warnings for a in moved), len(moved), "answers"),
        as_shown=share(sum(_is_as_shown(a) for a in several), len(several), "tasks of three or more"),
        as_shown_by_chance=float(np.mean([1 / math.factorial(len(a.shown)) for a in several])) if several else None,
        ties=share(sum(int((w == 0.5).sum()) for w in wins), sum(int((~np.isnan(w)).sum()) for w in wins), "pairs"),
        skipped=share(sum(answer.status == "skipped" for answer in own), num, "answers"),
        all_bad=share(sum("all_bad" in answer.flags for answer in own), num, "answers"),
        with_others=_with_others(met, own[0].annotator, seed),
    )


def _ranks(answer: Answer, ids: Sequence[str]) -> Floats:
    return np.array([answer.ranks.get(name, np.nan) for name in ids], float)


def _agreement_with(batch: Batch, pairs: Sequence[tuple[Floats, Floats]], seed: int) -> Figure:
    """Share of pairs on which two sets of ranks agree: 1 alike, ties with ties included; .5 where one is a tie."""
    alike = [1 - np.abs(pair_wins(one[None])[0] - pair_wins(other[None])[0]) for one, other in pairs]
    sums, counts = [np.nansum(own) for own in alike], [float((~np.isnan(own)).sum()) for own in alike]
    return mean_by_task(np.array(sums, float), np.array(counts, float), "pairs", seed)


def _gold(batch: Batch, ranked: Sequence[Answer], seed: int) -> Figure:
    pairs = []
    for answer in ranked:
        gold: Mapping[str, float] | None = batch.key.get(answer.task_id, {}).get("gold")
        if gold:
            ids = batch.by_id[answer.task_id].ids
            right = np.array([gold.get(name, np.nan) for name in ids], float)
            pairs.append((_ranks(answer, ids), right))
    return _agreement_with(batch, pairs, seed)


def _repeats(batch: Batch, ranked: Sequence[Answer], seed: int) -> Figure:
    """A repeat's completions are found by their text: their ids are new, or they would give it away."""
    by_task = {answer.task_id: answer for answer in ranked}
    pairs = []
    for again in ranked:
        first = by_task.get(str(batch.key.get(again.task_id, {}).get("repeat_of")))
        if kind_of(batch, again.task_id) == "repeat" and first is not None:
            before, now = batch.by_id[first.task_id], batch.by_id[again.task_id]
            ids = {c.text: c.id for c in now.completions}
            shared = [(c.id, ids[c.text]) for c in before.completions if c.text in ids]
            pairs.append((_ranks(first, [one for one, _ in shared]), _ranks(again, [other for _, other in shared])))
    return _agreement_with(batch, pairs, seed)


def _by_position(answer: Answer) -> Floats:
    """Normalised ranks in the order shown."""
    return normalised(_ranks(answer, answer.shown))


def _mean_places(placed: Sequence[Floats]) -> tuple[float, ...]:
    width = max((len(places) for places in placed), default=0)
    found = []
    for position in range(width):
        own = [p[position] for p in placed if len(p) > position and not np.isnan(p[position])]
        found.append(float(np.mean(own)) if own else math.nan)
    return tuple(round(value, 4) for value in found if not math.isnan(value))


def _left_wins(ranked: Sequence[Answer]) -> Figure:
    pairs = [_ranks(answer, answer.shown) for answer in ranked if len(answer.shown) == 2]
    apart = [ranks for ranks in pairs if ranks[0] != ranks[1] and not np.isnan(ranks).any()]
    return share(sum(bool(ranks[0] < ranks[1]) for ranks in apart), len(apart), "pairs without a tie")


def _is_as_shown(answer: Answer) -> bool:
    return [answer.ranks[name] for name in answer.shown] == list(range(1, len(answer.shown) + 1))


def _with_others(met: Meetings, name: str, seed: int) -> Figure:
    if name not in met.annotators:
        return Figure(None, 0, "pairs")
    own_M = (met.who_M2 == met.annotators.index(name)).any(1)
    return mean_by_task(*met.by_task(own_M), "pairs", seed)
