"""A published batch: what `collect` wrote, read back whole and checked.

batch.json      its id, digest, instructions and settings
tasks.jsonl     blind: all that an annotator or a tool may see
assign.jsonl    who sees which task, in which order
key.jsonl       secret: who wrote which completion, and the answers to gold tasks
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.schema import BATCH, KEY, TASK, Assignment, Shown, Task, batch_digest

FILES = ("batch.json", "tasks.jsonl", "assign.jsonl", "key.jsonl")


@dataclass(frozen=True)
class Batch:
    """Tasks, and who is to answer them. `key` is read by those who turn answers into data, never by an export."""

    batch_id: str
    title: str
    instructions: str  # plain text for annotators
    tasks: tuple[Task, ...]
    assignments: tuple[Assignment, ...]
    key: Mapping[str, Mapping[str, Any]]  # task id -> its line in key.jsonl
    settings: Mapping[str, Any]  # batch.json, whole

    @cached_property
    def by_id(self) -> Mapping[str, Task]:
        return {task.task_id: task for task in self.tasks}

    @cached_property
    def digest(self) -> str:
        return batch_digest(self.tasks)

    @property
    def annotators(self) -> list[str]:
        """In the order of their first task."""
        return list(dict.fromkeys(one.annotator for one in self.assignments))

    def of(self, annotator: str) -> list[tuple[Task, tuple[str, ...]]]:
        """The annotator's tasks in their order, each with the order of its completions."""
        return [(self.by_id[one.task_id], one.shown) for one in self.assignments if one.annotator == annotator]


def read_batch(folder: Path) -> Batch:
    """The batch in `folder`; DataError where a file is missing, torn, of another version or not what was published."""
    settings = _only(folder / "batch.json", BATCH)
    tasks = tuple(_task(row, where) for where, row in _lines(folder / "tasks.jsonl", TASK))
    assignments = tuple(_assignment(row, where) for where, row in _lines(folder / "assign.jsonl", None))
    key = {row["task_id"]: row for _, row in _lines(folder / "key.jsonl", KEY)}
    batch = Batch(
        batch_id=str(settings.get("batch_id")),
        title=str(settings.get("title", "")),
        instructions=str(settings.get("instructions", "")),
        tasks=tasks,
        assignments=assignments,
        key=key,
        settings=settings,
    )
    known = set(batch.by_id)
    if batch.digest != settings.get("digest") or not {one.task_id for one in assignments} <= known or set(key) != known:
        raise DataError(
            "its files do not belong together",
            where=str(folder),
            remedy="run the collect stage anew: a published batch is never edited",
        )
    return batch


def write_batch(folder: Path, batch: Batch) -> None:
    """The batch's files; the key is readable by its owner alone."""
    settings = {**batch.settings, "schema": BATCH, "batch_id": batch.batch_id, "digest": batch.digest,
                "title": batch.title, "instructions": batch.instructions}  # fmt: skip
    (folder / "batch.json").write_text(json.dumps(settings, indent=1, ensure_ascii=False) + "\n", "utf-8")
    _write(folder / "tasks.jsonl", [task.as_row() for task in batch.tasks])
    _write(folder / "assign.jsonl", [one.as_row() for one in batch.assignments])
    (folder / "key.jsonl").touch(mode=0o600)
    _write(folder / "key.jsonl", [{"schema": KEY, **batch.key[task.task_id]} for task in batch.tasks])


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    # ensure_ascii: a tokenizer can give half of a surrogate pair, which is no UTF-8
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _only(path: Path, schema: str) -> dict[str, Any]:
    try:
        return _object(json.loads(path.read_text("utf-8")), schema, str(path))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error


def _lines(path: Path, schema: str | None) -> list[tuple[str, dict[str, Any]]]:
    found = []
    try:
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
            where = f"{path}:row {number}"
            found.append((where, _object(json.loads(line), schema, where)))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _unreadable(path, error) from error
    return found


def _object(value: Any, schema: str | None, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or (schema and value.get("schema") != schema):
        found = value.get("schema") if isinstance(value, dict) else type(value).__name__
        raise DataError(
            f"is {found!r}; {schema or 'an object'} is needed",
            where=where,
            remedy="use the version of posttune that made this batch",
        )
    return value


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"cannot be read ({error})", where=str(path), remedy="run the collect stage anew")


def _task(row: Mapping[str, Any], where: str) -> Task:
    try:
        task = Task(
            row["batch_id"],
            row["task_id"],
            tuple(row["messages"]),
            tuple(Shown(one["id"], one["text"]) for one in row["completions"]),
            tuple(row.get("criteria") or ("overall",)),
            row.get("language"),
            tuple(row.get("tags") or ()),
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"is no task ({error!r})", where=where, remedy="run the collect stage anew") from error
    if task.digest != row.get("task_digest"):
        raise DataError("its text is not what was published", where=where, remedy="run the collect stage anew")
    return task


def _assignment(row: Mapping[str, Any], where: str) -> Assignment:
    try:
        return Assignment(row["annotator"], row["task_id"], tuple(row["shown"]), row.get("kind", "normal"))
    except (KeyError, TypeError) as error:
        raise DataError(f"is no assignment ({error!r})", where=where, remedy="run the collect stage anew") from error
