"""Answers -> the comparisons that training reads: a line a task, every annotator's ranking in it, as canonical rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import DataError, nearest
from stages.agreement import dawid_skene
from stages.agreement.judged import check_tasks, kind_of, newest
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Kind, Task, why_unusable
from stages.formats import ranked
from stages.formats.records import Comparison, Ranking, ranking_row

Weights = Callable[[Batch, Sequence[Answer]], Mapping[str, float]]


@dataclass(frozen=True)
class Options:
    """What the command line says of the rows to be made."""

    weights: str = "equal"  # a name in WEIGHTS
    exclude_annotators: frozenset[str] = frozenset()
    kinds: frozenset[Kind] = frozenset({"normal"})  # gold tasks have known answers and repeats count a task twice


@dataclass(frozen=True)
class Aggregated:
    """Canonical comparison rows, and where every answer went: used, or left out for a reason."""

    rows: Sequence[Mapping[str, Any]]
    comparisons: Sequence[Comparison]  # the same, as formats read them
    num_answers: int
    left_out: Mapping[str, int]  # reason -> answers
    refused: Sequence[str] = ()  # tasks whose text no trainer could read, each with the reason
    weights: Mapping[str, float] = field(default_factory=dict)  # annotators whose votes do not count 1

    @property
    def num_used(self) -> int:
        return self.num_answers - sum(self.left_out.values())

    def describe(self) -> str:
        text = f"{len(self.rows)} comparisons from {self.num_used} of {self.num_answers} answers"
        if self.left_out:
            text += "; left out: " + ", ".join(f"{num} {why}" for why, num in sorted(self.left_out.items()))
        return "\n".join([text, *self.refused])


def aggregate(batch: Batch, answers: Sequence[Answer], options: Options | None = None) -> Aggregated:
    """One row a task that somebody ranked; partial rankings keep null for what was not ranked.

    DataError for answers that are not the batch's, and for an annotator to exclude or a kind of weights there is not.
    """
    options = options or Options()
    check_tasks(batch, answers)
    _check_options(options, answers)
    weights = WEIGHTS[options.weights](batch, [a for a in answers if a.annotator not in options.exclude_annotators])
    standing = newest(answers)
    left_out = Counter({"superseded by a later answer": len(answers) - len(standing)})
    given: dict[str, list[Answer]] = defaultdict(list)
    for answer in standing:
        why = _left_out(batch, answer, options)
        left_out[why] += 1 if why else 0
        if not why:
            given[answer.task_id].append(answer)
    made, refused = [], []
    for task in batch.tasks:
        if task.task_id in given:
            row = _row(batch, task, given[task.task_id], weights)
            try:
                made.append((row, ranked.convert(row)))
            except DataError as error:  # an empty text, half of a surrogate pair: judged, but not to be learnt from
                refused.append(f"task {task.task_id}: {error.where} {error.problem}")
                left_out["of a task with a text that cannot be learnt from"] += len(given[task.task_id])
    return Aggregated(
        [row for row, _ in made],
        [comparison for _, comparison in made],
        num_answers=len(answers),
        left_out={why: num for why, num in left_out.items() if num},
        refused=refused,
        weights={name: weight for name, weight in weights.items() if weight != 1},
    )


def _check_options(options: Options, answers: Sequence[Answer]) -> None:
    names = sorted({answer.annotator for answer in answers})
    for name in sorted(options.exclude_annotators - set(names)):
        raise DataError("answered nothing", where=f"annotator {name!r}", remedy=nearest(name, names))
    if options.weights not in WEIGHTS:
        raise DataError(
            f"is {options.weights!r}; {', '.join(WEIGHTS)} are allowed",
            where="weights",
            remedy=nearest(options.weights, WEIGHTS),
        )


def _left_out(batch: Batch, answer: Answer, options: Options) -> str:
    """Why an answer gives nothing to learn from; empty where it does."""
    kind = kind_of(batch, answer.task_id)
    if kind not in options.kinds:
        return f"to {kind} tasks"
    if answer.annotator in options.exclude_annotators:
        return "by excluded annotators"
    return why_unusable(answer)


def _row(batch: Batch, task: Task, given: Sequence[Answer], weights: Mapping[str, float]) -> dict[str, Any]:
    rankings = [
        Ranking(answer.annotator, tuple(answer.ranks.get(i) for i in task.ids), weights.get(answer.annotator, 1.0))
        for answer in given
    ]
    return {
        "id": task.task_id,
        "prompt": [dict(message) for message in task.messages],
        "completions": [completion.text for completion in task.completions],
        "rankings": list(map(ranking_row, rankings)),
        "source": {"batch_id": batch.batch_id, "completions": [_origins(batch, task, i) for i in task.ids]},
    }


def _origins(batch: Batch, task: Task, completion_id: str) -> list[Mapping[str, Any]]:
    """Who wrote a text: several policies, or one several times, where equal texts were merged before they were sent."""
    entries: Mapping[str, Mapping[str, Any]] = batch.key.get(task.task_id, {}).get("completions") or {}
    own = [entry for name, entry in entries.items() if completion_id in (name, entry.get("duplicate_of"))]
    return [{name: value for name, value in entry.items() if name != "duplicate_of"} for entry in own]


def _equal(batch: Batch, answers: Sequence[Answer]) -> Mapping[str, float]:
    return {}


def _by_care(batch: Batch, answers: Sequence[Answer]) -> Mapping[str, float]:
    return dawid_skene.weights(dawid_skene.skills(batch, newest(answers)))


WEIGHTS: dict[str, Weights] = {"equal": _equal, "dawid_skene": _by_care}
