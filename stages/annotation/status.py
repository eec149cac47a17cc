"""Where a batch stands: what each annotator has done, and which tasks want more rankings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, is_usable


@dataclass(frozen=True)
class Progress:
    """Tasks of one annotator: ranked whole, ranked in part, passed over or flagged without ranks, and left."""

    annotator: str
    done: int
    partial: int
    skipped: int
    left: int

    def words(self) -> str:
        """The same in words."""
        return f"{self.done} done, {self.partial} partial, {self.skipped} skipped, {self.left} left"


@dataclass(frozen=True)
class Short:
    """A task with fewer rankings than wanted."""

    task_id: str
    has: int
    wanted: int


@dataclass(frozen=True)
class Status:
    """A batch and its answers, counted."""

    batch_id: str
    tasks: int
    annotators: Sequence[Progress]
    short: Sequence[Short]

    @property
    def is_complete(self) -> bool:
        """Whether every task has the rankings it wants."""
        return not self.short

    def lines(self) -> list[str]:
        """The same in words."""
        width = max((len(one.annotator) for one in self.annotators), default=0)
        people = [f"  {one.annotator:<{width}}  {one.words()}" for one in self.annotators]
        return [f"{self.batch_id}: {self.tasks} tasks", *people, *self._missing()]

    def _missing(self) -> list[str]:
        if self.is_complete:
            return ["every task has the rankings it wants"]
        rankings = sum(one.wanted - one.has for one in self.short)
        shown = ", ".join(f"{one.task_id} ({one.has} of {one.wanted})" for one in self.short[:5])
        more = f" and {len(self.short) - 5} more" if len(self.short) > 5 else ""
        waiting = [one.annotator for one in self.annotators if one.left]
        who = f"waiting for {', '.join(waiting)}" if waiting else "nobody has a task left: publish them to more people"
        return [f"{rankings} rankings are missing in {len(self.short)} tasks: {shown}{more}", who]


def status(batch: Batch, answers: Iterable[Answer], wanted: int | None = None) -> Status:
    """`wanted` rankings for every task; left out, as many as annotators it was assigned to.

    A ranking is an answer that is usable, also one that ties all completions.
    """
    at_hand = [answer for answer in answers if answer.task_id in batch.by_id]
    rankings = Counter(answer.task_id for answer in at_hand if is_usable(answer))
    assigned = Counter(task_id for task_id, _ in {(one.task_id, one.annotator) for one in batch.assignments})
    needs = {task_id: wanted if wanted is not None else assigned[task_id] for task_id in batch.by_id}
    return Status(
        batch_id=batch.batch_id,
        tasks=len(batch.tasks),
        annotators=_progress(batch, at_hand),
        short=[Short(task, rankings[task], want) for task, want in needs.items() if rankings[task] < want],
    )


def finished(answers: Iterable[Answer]) -> frozenset[tuple[str, str]]:
    """(annotator, task id) that need not be sent out again: ranked whole, skipped or flagged."""
    return frozenset((answer.annotator, answer.task_id) for answer in answers if answer.status != "partial")


def _progress(batch: Batch, answers: Sequence[Answer]) -> list[Progress]:
    own: Mapping[str, dict[str, Answer]] = {
        name: {answer.task_id: answer for answer in answers if answer.annotator == name}
        for name in dict.fromkeys([*batch.annotators, *(answer.annotator for answer in answers)])
    }
    return [_of(name, batch, given) for name, given in own.items()]


def _of(name: str, batch: Batch, given: Mapping[str, Answer]) -> Progress:
    kinds = Counter(_kind(answer) for answer in given.values())
    assigned = {one.task_id for one in batch.assignments if one.annotator == name}
    return Progress(name, kinds["done"], kinds["partial"], kinds["skipped"], len(assigned - set(given)))


def _kind(answer: Answer) -> str:
    if answer.status == "partial":
        return "partial"
    return "done" if answer.ranks else "skipped"
