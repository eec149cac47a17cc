"""What `posttune collect` does with a batch: export, import_, rows, status, agreement.

`output` is the folder with the published batch, `answers` the folder of what came back. Each command gives lines to say
and an exit code; a DataError is told by whoever calls.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contract import ROWS
from pipeline.errors import DONE, DataError
from stages.annotation.answers import digest_of, locked, read_answers, write_json, write_rows
from stages.annotation.batch import read_batch
from stages.annotation.conflicts import OnConflict
from stages.annotation.status import finished
from stages.annotation.status import status as count
from stages.exchange.lookup import exporter
from stages.exchange.tools import ExportOptions, ReadOptions
from stages.exchange.users import read_users
from stages.returns.take import FileReport, Report, TakeOptions, take

SHOWN = 20  # problems; all of them are in import_log.jsonl
CHOICE = "rows.json"  # how the rows were last made: an import makes them so again


@dataclass(frozen=True)
class Said:
    """What to print, and how the command ends."""

    lines: Sequence[str]
    exit_code: int = DONE


def export(
    output: Path,
    answers: Path,
    *,
    to: str,
    folder: Path | None = None,  # left out: export/<tool> in the answers' folder
    annotators: Sequence[str] = (),  # none: all that the batch names
    exclude_done: bool = False,
    allow_truncated: bool = False,
) -> Said:
    """Write the batch for a tool."""
    write, batch = exporter(to), read_batch(output)
    folder = folder or answers / "export" / to
    done = finished(read_answers(answers)) if exclude_done else frozenset()
    try:
        answers.mkdir(parents=True, exist_ok=True)  # wherever the files go: a batch that was sent out is kept
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        where, remedy = str(folder), "name a folder with --out"
        raise DataError(f"cannot be written ({error.strerror})", where=where, remedy=remedy) from error
    paths = write(batch, folder, ExportOptions(tuple(annotators), done, allow_truncated))
    if not paths:
        return Said([f"{batch.batch_id}: nothing is left to send out"])
    left = [name for name in annotators or batch.annotators if _all_done(name, batch.of(name), done)]
    return Said([
        f"{batch.batch_id}: {len(paths)} {'file' if len(paths) == 1 else 'files'} for {to}",
        *(f"  {path}" for path in paths),
        *(f"  {name} has nothing left to do" for name in left),
    ])  # fmt: skip


def import_(
    output: Path,
    answers: Path,
    *,
    files: Sequence[Path],
    tool: str | None = None,  # left out: found by looking
    columns: dict[str, str] | None = None,
    users: Path | None = None,
    aliases: Path | None = None,
    annotator: str | None = None,
    on_conflict: OnConflict | None = None,
    strict: bool = False,
    drop_suspect: bool = False,
) -> Said:
    """Take files that came back, and make the rows anew; exit code 2 where something in them was refused."""
    read = ReadOptions(columns or {}, read_users(users) if users else {}, annotator)
    known = read_users(aliases) if aliases else {}
    options = TakeOptions(tool, read, known, on_conflict, strict=strict, drop_suspect=drop_suspect)
    try:
        report = take(output, answers, files, options)
    except DataError as error:
        others = "; nothing of the other files was taken either" if len(files) > 1 else ""
        raise DataError(error.problem + others, where=error.where, remedy=error.remedy) from error
    lines = [line for file in report.files for line in _of_file(file)]
    lines += [*_problems(report), *_suspects(report, options), f"{report.answers} answers at hand"]
    return Said([*lines, *rows(output, answers).lines], report.exit_code)


def rows(output: Path, answers: Path, *, weights: str | None = None, exclude: Collection[str] | None = None) -> Said:
    """Make the comparisons that stages read; what is left out is chosen as the last time."""
    from stages.agreement.aggregate import Options, aggregate

    with locked(answers):
        batch, given, last = read_batch(output), read_answers(answers), _last_choice(answers)
        present = {answer.annotator for answer in given}
        left_out = sorted(exclude if exclude is not None else present & set(last.get("exclude", ())))
        chosen = {"weights": weights or last.get("weights", "equal"), "exclude": left_out}
        made = aggregate(batch, given, Options(chosen["weights"], frozenset(left_out)))
        write_rows(answers / ROWS["batch"], made.rows)
        write_json(answers / CHOICE, {**chosen, "rankings": digest_of(answers)})
    without = [f"without {', '.join(left_out)}"] if left_out else []
    return Said([made.describe(), *without, f"rows: {answers / ROWS['batch']}"])


def rows_are_old(answers: Path) -> bool:
    """Whether answers have come in, or gone, since the rows were made: an import was cut off between the two."""
    return bool(_last_choice(answers).get("rankings") != digest_of(answers))


def status(output: Path, answers: Path) -> Said:
    """Who has done what, and what is missing."""
    left_out = _last_choice(answers).get("exclude")
    without = [f"not learnt from: {', '.join(left_out)}"] if left_out else []
    return Said([*count(read_batch(output), read_answers(answers)).lines(), *without])


def agreement(output: Path, answers: Path) -> Said:
    """How well people agree, as a table and in agreement.json."""
    from stages.agreement.agreement import measure
    from stages.agreement.readings import describe

    given = read_answers(answers)
    if not given:
        return Said(["nothing has come back yet"])
    measured = measure(read_batch(output), given)
    file = write_json(answers / "agreement.json", measured.as_row())
    return Said([describe(measured), "", f"all of it: {file}"])


def _last_choice(answers: Path) -> dict[str, Any]:
    if not (answers / CHOICE).exists():
        return {}
    try:
        held = json.loads((answers / CHOICE).read_text("utf-8"))
        if isinstance(held, dict):
            return held
    except (OSError, ValueError):
        pass
    remedy = "delete it, and say again whom to leave out: posttune collect rows --exclude-annotator NAME"
    raise DataError("is not what posttune wrote", where=str(answers / CHOICE), remedy=remedy)


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
