"""What goes out to people: whose tasks are still to be done, the prompt as they read it, and the files' names.

Tools that everybody shares show a task to everybody in one order. It is that of the sorted ids: ids are keyed hashes,
so this is a shuffle of its own for each task, and whoever reads the answers can work it out again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError, nearest
from stages.annotation.batch import Batch
from stages.annotation.schema import Task
from stages.annotation.shown import message_text
from stages.exchange.tools import ExportOptions
from stages.formats.records import Message

UNSHOWABLE = re.compile("[\x00\ud800-\udfff]")  # NUL and halves of surrogate pairs: databases refuse them


@dataclass(frozen=True)
class Work:
    """A task and who is still to answer it."""

    task: Task
    annotators: tuple[str, ...]


def wanted_annotators(batch: Batch, options: ExportOptions) -> list[str]:
    """Whose files to write; DataError for somebody whom the batch does not know."""
    known = batch.annotators
    for name in options.annotators:
        if name not in known:
            raise DataError(f"no task is for '{name}'", where="--annotator", remedy=nearest(name, known))
    return list(options.annotators) or known


def file_names(batch: Batch) -> dict[str, str]:
    """Annotator -> file name without its ending, of letters that every system takes, no two alike."""
    names: dict[str, str] = {}
    for annotator in batch.annotators:
        name = stem = f"{batch.batch_id}__{re.sub(r'[^A-Za-z0-9@._-]', '_', annotator)[:80]}"
        number = 2
        while name.casefold() in {taken.casefold() for taken in names.values()}:
            name, number = f"{stem}-{number}", number + 1
        names[annotator] = name
    return names


def open_work(batch: Batch, options: ExportOptions) -> list[Work]:
    """The tasks that somebody is still to answer, in the batch's order."""
    asked = set(wanted_annotators(batch, options))
    found: dict[str, list[str]] = {}
    for assignment in batch.assignments:
        person, task_id = assignment.annotator, assignment.task_id
        if person in asked and (person, task_id) not in options.exclude_done:
            found.setdefault(task_id, []).append(person)
    work = [Work(task, tuple(found[task.task_id])) for task in batch.tasks if task.task_id in found]
    for one in work:
        _check_ids(one.task)
    return work


def by_size(work: Sequence[Work]) -> dict[int, list[Work]]:
    """The tasks by their number of completions, smallest first."""
    sizes = sorted({len(one.task.ids) for one in work})
    return {size: [one for one in work if len(one.task.ids) == size] for size in sizes}


def shared_order(task: Task) -> tuple[str, ...]:
    """The one order in which a shared tool shows a task's completions."""
    return tuple(sorted(task.ids))


def shown_messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Role and text of each message, as a tool with a page for conversations takes them."""
    return [{"role": str(message.get("role", "")), "content": showable(message_text(message))} for message in messages]


def showable(text: str) -> str:
    """`text` with a replacement character for what no database takes. What is shown is never read back."""
    return UNSHOWABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def write_text(path: Path, text: str) -> Path:
    """`path`, written whole with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def write_json(path: Path, value: object) -> Path:
    """The same for JSON."""
    return write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> Path:
    """The same for JSONL."""
    return write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def _check_ids(task: Task) -> None:
    for name in (task.task_id, *task.ids):
        if not name[:1].isalpha():
            raise DataError(
                f"the id '{name}' does not begin with a letter; tools sort or rewrite such ids",
                where=f"task {task.task_id}",
                remedy="make the batch anew with the collect stage",
            )
