"""What goes to annotators and what comes back, as records and as the lines of a batch's files (schema version 1).

A batch is blind: a task shows texts under opaque ids, and only `key.jsonl` says who wrote them. An answer's ranks are
keyed by those ids: 1 is best, equal numbers are a tie, and an id without a rank was not ranked, never the worst.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal

from pipeline.errors import DataError
from stages.formats.records import Message, canonical
from stages.formats.rules import dense

TASK, KEY, ANSWER, BATCH = "pref.task/1", "pref.key/1", "pref.ranking/1", "pref.batch/1"
ID = re.compile(r"[tc]_[a-z0-9]{8}")  # begins with a letter: tools sort or rewrite ids that look like numbers
BATCH_ID = re.compile(r"b_[a-z0-9]{8}")
ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"

FLAGS = MappingProxyType({  # what may be wrong with a task, and how people are asked; html_page/answers.js has it too
    "all_bad": "All are bad",
    "unsafe": "Unsafe or harmful",
    "broken_prompt": "The prompt is broken",
    "cannot_judge": "I cannot judge this",
})  # fmt: skip
UNUSABLE = ("all_bad", "broken_prompt", "cannot_judge")  # flags beside which an order means nothing
UNTOUCHED = "order_untouched"  # the warning of a ranking that is the order shown

Status = Literal["ranked", "partial", "skipped", "flagged"]
Kind = Literal["normal", "gold", "repeat"]


@dataclass(frozen=True)
class Shown:
    """A completion as annotators see it."""

    id: str
    text: str


@dataclass(frozen=True)
class Task:
    """One prompt and its K completions, K >= 2, no two of one text."""

    batch_id: str
    task_id: str
    messages: tuple[Message, ...]
    completions: tuple[Shown, ...]
    criteria: tuple[str, ...] = ("overall",)
    language: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(completion.id for completion in self.completions)

    @property
    def digest(self) -> str:
        """Equal for equal messages and equal texts under equal ids, whatever their order."""
        texts = sorted((c.id, _sha256(c.text)) for c in self.completions)
        return "sha256:" + _sha256(canonical({"messages": self.messages, "completions": texts}))

    def text(self, completion_id: str) -> str:
        """The text under an id of this task."""
        return next(c.text for c in self.completions if c.id == completion_id)

    def as_row(self) -> dict[str, Any]:
        """The task's line in `tasks.jsonl`."""
        return {
            "schema": TASK,
            "batch_id": self.batch_id,
            "task_id": self.task_id,
            "task_digest": self.digest,
            "mode": "rank",
            "messages": [dict(message) for message in self.messages],
            "completions": [{"id": c.id, "text": c.text} for c in self.completions],
            "criteria": list(self.criteria),
            "language": self.language,
            "tags": list(self.tags),
        }


@dataclass(frozen=True)
class Assignment:
    """That an annotator sees a task, and in which order; `kind` is for us, and in no export."""

    annotator: str
    task_id: str
    shown: tuple[str, ...]  # completion ids
    kind: Kind = "normal"

    def as_row(self) -> dict[str, Any]:
        """The assignment's line in `assign.jsonl`."""
        return {"annotator": self.annotator, "task_id": self.task_id, "shown": list(self.shown), "kind": self.kind}


@dataclass(frozen=True)
class Answer:
    """What one annotator said of one task."""

    batch_id: str
    task_id: str
    annotator: str
    status: Status
    ranks: Mapping[str, int] = field(default_factory=dict)  # completion id -> rank, dense from 1; ties share
    task_digest: str | None = None
    shown: tuple[str, ...] = ()  # completion ids in the order that the annotator saw; empty: not known
    strength: int | None = None  # of a choice between two: 0 (equal) to 3; who won is what `ranks` says
    ratings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # completion id -> criterion -> number
    flags: tuple[str, ...] = ()  # all_bad, unsafe, broken_prompt, cannot_judge, ...
    skip_reason: str | None = None
    comment: str = ""
    active_seconds: float | None = None  # without pauses
    started_at: str | None = None  # as times.py writes it
    submitted_at: str | None = None  # the same; the newer of two answers stands
    revision: int = 1
    touched: bool | None = None  # whether the annotator moved anything; None: the tool cannot tell
    source: Mapping[str, Any] = field(default_factory=dict)  # tool, tool_version, file_sha256, record_id, annotator_raw
    warnings: tuple[str, ...] = ()
    superseded: tuple[Mapping[str, Any], ...] = ()  # earlier answers to the same task by the same annotator
    extra: Mapping[str, Any] = field(default_factory=dict)  # fields of a newer minor version: kept

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is one answer for."""
        return self.batch_id, self.task_id, self.annotator

    def says_the_same_as(self, other: Answer) -> bool:
        """Whether two answers give the same judgement, however and whenever they were given."""
        return (self.status, dict(self.ranks), self.strength, set(self.flags)) == (
            other.status, dict(other.ranks), other.strength, set(other.flags),
        )  # fmt: skip

    def as_row(self) -> dict[str, Any]:
        """The answer's line in `rankings.jsonl`."""
        row: dict[str, Any] = {
            "schema": ANSWER,
            "batch_id": self.batch_id,
            "task_id": self.task_id,
            "task_digest": self.task_digest,
            "annotator": self.annotator,
            "status": self.status,
            "ranks": dict(self.ranks),
            "shown": list(self.shown),
            "strength": self.strength,
            "ratings": {name: dict(given) for name, given in self.ratings.items()},
            "flags": list(self.flags),
            "skip_reason": self.skip_reason,
            "comment": self.comment,
            "active_seconds": self.active_seconds,
            "started_at": self.started_at,
            "submitted_at": self.submitted_at,
            "revision": self.revision,
            "touched": self.touched,
            "source": dict(self.source),
            "warnings": list(self.warnings),
            "superseded": [dict(row) for row in self.superseded],
        }
        return {**self.extra, **row}


def ranked_answer(answer: Answer, ranks: Mapping[str, float | None], ids: Sequence[str]) -> Answer:
    """`answer` with these ranks, made dense, and the status that they and its flags make.

    `flagged` with an unusable flag, or with flags alone; else `partial` where some of the task's `ids` have no rank,
    `skipped` where all. Whoever said flagged or skipped keeps that status. DataError for an id that the task does not
    have.
    """
    unknown = sorted(set(ranks) - set(ids))
    if unknown:
        raise DataError(
            f"ranks {', '.join(unknown[:3])}, which the task does not have",
            where=f"task {answer.task_id}",
            remedy="an id was edited, or the row belongs to another task: take it from the file that was sent out",
        )
    given = {name: ranks[name] for name in ids if ranks.get(name) is not None}
    made = {name: rank for name, rank in zip(given, dense(list(given.values())), strict=True) if rank is not None}
    status = answer.status
    if status in ("ranked", "partial"):
        status = "skipped" if not made else "ranked" if len(made) == len(ids) else "partial"
        status = "flagged" if set(UNUSABLE) & set(answer.flags) or (answer.flags and not made) else status
    return replace(answer, ranks=made, status=status)


def is_usable(answer: Answer) -> bool:
    """Whether the answer's order counts: in training, in agreement, and as one of the rankings a task wants."""
    return not why_unusable(answer)


def why_unusable(answer: Answer) -> str:
    """Why an answer's order does not count; empty where it does."""
    if answer.status == "skipped":
        return "skipped"
    for flag in UNUSABLE:
        if flag in answer.flags:
            return f"flagged {flag}"
    if answer.status == "flagged":
        return f"flagged {', '.join(sorted(answer.flags)) or 'without a reason'}"
    return "" if len(answer.ranks) > 1 else "that rank fewer than two completions"


def opaque(secret: bytes, prefix: Literal["t", "c", "b"], *parts: object) -> str:
    """An id that says nothing: eight letters and digits of HMAC-SHA256 under the batch's secret."""
    number = int.from_bytes(hmac.new(secret, canonical(parts).encode("utf-8", "surrogatepass"), "sha256").digest())
    letters = []
    for _ in range(8):
        number, place = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[place])
    return f"{prefix}_{''.join(letters)}"


def batch_digest(tasks: Iterable[Task]) -> str:
    """Equal for batches of equal tasks."""
    return "sha256:" + _sha256(canonical(sorted((task.task_id, task.digest) for task in tasks)))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
