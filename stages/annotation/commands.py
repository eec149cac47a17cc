"""What the command line does with a batch: export, import, status. Each gives lines to say and an exit code.

`output` is the folder with the published batch, `answers` the folder of what came back. A DataError is told by whoever
calls.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DONE, DataError
from stages.annotation.answers import read_answers
from stages.annotation.batch import read_batch
from stages.annotation.returns import FileReport, Report, TakeOptions, take
from stages.annotation.status import finished
from stages.annotation.status import status as count
from stages.exchange.lookup import exporter
from stages.exchange.table import decoded, read_bytes
from stages.exchange.tools import ExportOptions

SHOWN = 20  # problems; all of them are in import_log.jsonl


@dataclass(frozen=True)
class Said:
    """What to print, and how the command ends."""

    lines: Sequence[str]
    exit_code: int = DONE


@dataclass(frozen=True)
class ExportRequest:
    """What the command line says of an export."""

    to: str  # a tool
    folder: Path | None = None  # None: export/<tool> in the answers' folder
    annotators: Sequence[str] = ()  # none: all that the batch names
    exclude_done: bool = False
    allow_truncated: bool = False


def export(output: Path, answers: Path, request: ExportRequest) -> Said:
    """Write the batch for a tool."""
    write, batch = exporter(request.to), read_batch(output)
    folder = request.folder or answers / "export" / request.to
    done = finished(read_answers(answers)) if request.exclude_done else frozenset()
    options = ExportOptions(tuple(request.annotators), done, request.allow_truncated)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths = write(batch, folder, options)
    except OSError as error:
        raise DataError(
            f"cannot be written ({error.strerror})", where=str(folder), remedy="name another folder, or make room"
        ) from error
    if not paths:
        return Said([f"{batch.batch_id}: nothing is left to send out"])
    left = [name for name in request.annotators or batch.annotators if _all_done(name, batch.of(name), done)]
    return Said([
        f"{batch.batch_id}: {len(paths)} {'file' if len(paths) == 1 else 'files'} for {request.to}",
        *(f"  {path}" for path in paths),
        *(f"  {name} has nothing left to do" for name in left),
    ])  # fmt: skip


def import_(output: Path, answers: Path, files: Sequence[Path], options: TakeOptions) -> Said:
    """Take files that came back; exit code 2 where something in them was refused."""
    report = take(output, answers, files, options)
    lines = [line for file in report.files for line in _of_file(file)]
    return Said([*lines, *_problems(report), *_suspects(report, options), f"{report.answers} answers at hand"],
                report.exit_code)  # fmt: skip


def status(output: Path, answers: Path, wanted: int | None = None) -> Said:
    """Who has done what, and what is missing."""
    return Said(count(read_batch(output), read_answers(answers), wanted).lines())


def read_names(path: Path) -> dict[str, str]:
    """A file of names, as --users and --aliases take it: {"7": "ann"}, or the users that a tool's server lists.

    Of such a list the `id` is mapped to `email` or `username`.
    """
    try:
        held = json.loads(decoded(path, read_bytes(path))[0])
    except (ValueError, RecursionError) as error:
        if isinstance(error, DataError):
            raise
        raise _no_names(path, f"is not JSON ({error})") from error
    if isinstance(held, dict) and isinstance(held.get("items"), list):
        held = held["items"]
    if isinstance(held, list):
        held = {str(user["id"]): user.get("email") or user.get("username") for user in held if _has_id(user)}
    if not isinstance(held, dict) or not held or not all(isinstance(name, str) and name for name in held.values()):
        raise _no_names(path, "names nobody")
    return {str(spelling): name for spelling, name in held.items()}


def _has_id(user: Any) -> bool:
    return isinstance(user, Mapping) and "id" in user


def _no_names(path: Path, problem: str) -> DataError:
    return DataError(problem, where=str(path), remedy='write {"how the file spells it": "the annotator"}')


def _all_done(name: str, tasks: Sequence[Any], done: frozenset[tuple[str, str]]) -> bool:
    return bool(done) and all((name, task.task_id) in done for task, _ in tasks)


def _of_file(file: FileReport) -> list[str]:
    if file.already:
        return [f"{file.file}: already imported"]
    words = {"taken": "taken", "replaced": "newer than before", "duplicate": "as before", "older": "older than before",
             "dropped": "dropped as unread"}  # fmt: skip
    parts = [f"{file.counts[kind]} {text}" for kind, text in words.items() if file.counts.get(kind)]
    parts += [f"{len(file.problems)} refused"] if file.problems else []
    parts += [f"{number} left out ({reason})" for reason, number in file.ignored.items()]
    merged = [f"  '{raw}' is counted as {name}" for raw, name in file.merged.items()]
    return [f"{file.file} ({file.tool}): {file.total} in all; {', '.join(parts) or 'no answer'}", *merged,
            *(f"  {note}" for note in file.notes)]  # fmt: skip


def _problems(report: Report) -> list[str]:
    told = [f"  {one.where}: {one.problem}\n     -> {one.remedy}" for one in report.problems[:SHOWN]]
    more = len(report.problems) - SHOWN
    return told + ([f"  and {more} more: see import_log.jsonl"] if more > 0 else [])


def _suspects(report: Report, options: TakeOptions) -> list[str]:
    lines = [f"warning: {one.annotator}: {one.words}" for one in report.suspects]
    if lines and not options.drop_suspect:
        lines.append("  look at these answers; --drop-suspect imports the files without them")
    return lines
