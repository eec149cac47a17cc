"""The import: files that came back -> rankings.jsonl, by the same rules for every tool.

A file is taken once. An answer that says the same as the one at hand is a duplicate; of two that differ the one
submitted later stands and keeps the other under `superseded`; where that cannot be told, nothing is imported until
somebody says which. A task that cannot be taken is listed, and the rest of the file is kept. All files of a call are
written together or, where one of them cannot be used at all, not at all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import DONE, WRONG_INPUT, DataError
from stages.annotation.answers import (
    answer_of,
    is_lost,
    keep_raw,
    locked,
    read_answers,
    read_log,
    write_answers,
    write_log,
)
from stages.annotation.batch import Batch, read_batch
from stages.annotation.conflicts import OnConflict, settle
from stages.annotation.schema import ANSWER, Answer
from stages.annotation.suspects import Suspect, find
from stages.exchange.filled_in import wrong_batch
from stages.exchange.lookup import reader_of
from stages.exchange.table import read_bytes
from stages.exchange.tools import Problem, ReadOptions
from stages.returns.names import Names
from stages.returns.received import check_batch, checked

__all__ = ["FileReport", "Report", "TakeOptions", "read_answers", "take"]

LOG_SCHEMA = "pref.import/1"
Book = dict[tuple[str, str, str], Answer]  # the answers that stand: batch, task, annotator -> answer


@dataclass(frozen=True)
class TakeOptions:
    """What the command line says of an import."""

    tool: str | None = None  # whose files they are; None: found by looking
    read: ReadOptions = field(default_factory=ReadOptions)
    aliases: Mapping[str, str] = field(default_factory=dict)  # a spelling -> the annotator's name
    on_conflict: OnConflict | None = None  # which of two answers stands where no time tells; None: stop and ask
    strict: bool = False  # a file with any problem is refused whole
    drop_suspect: bool = False  # answers that look unread are left out, of annotators who have many


@dataclass(frozen=True)
class FileReport:
    """What became of one file. `counts` are of answers: taken, replaced, duplicate, older, dropped."""

    file: str
    sha256: str
    tool: str = ""
    already: bool = False
    counts: Mapping[str, int] = field(default_factory=dict)
    problems: Sequence[Problem] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)  # a spelling -> the name it was counted under
    notes: Sequence[str] = ()

    @property
    def total(self) -> int:
        """All that the file held: every one of them is in one of the counts."""
        return sum(self.counts.values()) + len(self.problems) + sum(self.ignored.values())


@dataclass(frozen=True)
class Report:
    """What an import did."""

    files: Sequence[FileReport]
    suspects: Sequence[Suspect]
    answers: int  # that stand now

    @property
    def problems(self) -> list[Problem]:
        return [problem for file in self.files for problem in file.problems]

    @property
    def exit_code(self) -> int:
        """2 where something was refused, though the rest is imported."""
        return WRONG_INPUT if self.problems else DONE


def take(batch_folder: Path, answers_folder: Path, files: Sequence[Path], options: TakeOptions | None = None) -> Report:
    """Import `files` into the folder; DataError, and nothing written, where one of them cannot be used as a whole."""
    options = options or TakeOptions()
    batch = read_batch(batch_folder)
    with locked(answers_folder):
        lost = is_lost(answers_folder)
        log = [] if lost else read_log(answers_folder)
        book = {} if lost else _book(answers_folder, batch)
        names = Names([*batch.annotators, *(key[2] for key in book)], options.aliases)
        reports, raw = [], {}
        for file in map(Path, files):
            data = read_bytes(file)
            digest = hashlib.sha256(data).hexdigest()
            if digest in raw or _is_logged(log, digest, options):
                reports.append(FileReport(str(file), digest, already=True))
                continue
            raw[digest] = (file, data)
            for key in _of_file(book, digest):  # an earlier reading of this file, under other options
                _withdraw(book, key)
            reports.append(_take_file(file, digest, _Desk(batch, book, names, options)))
        found = find(book.values(), batch)
        if options.drop_suspect:
            reports = _drop(reports, book, found)
        if raw:
            _write(answers_folder, book, raw, [*log, *(_log_line(one, options) for one in reports if not one.already)])
    return Report(reports, found, len(book))


def _book(folder: Path, batch: Batch) -> Book:
    book = {answer.key: answer for answer in read_answers(folder)}
    for other in {key[0] for key in book} - {batch.batch_id}:
        raise wrong_batch(other, batch, str(folder))
    return book


@dataclass(frozen=True)
class _Desk:
    """What a file is held against; `book` is what stands, and changes."""

    batch: Batch
    book: Book
    names: Names
    options: TakeOptions


def _take_file(path: Path, digest: str, desk: _Desk) -> FileReport:
    name, tool = reader_of(path, desk.options.tool, desk.options.read.columns)
    returned = tool.read(path, desk.batch, desk.options.read)
    problems, counts, merged = list(returned.problems), Counter[str](), {}
    unsettled: list[str] = []
    for position, answer in enumerate(returned.answers, start=1):
        place = _place(path, answer, position)
        check_batch(answer, desk.batch, place)
        source = {"tool": name, "annotator_raw": answer.annotator, **answer.source, "file_sha256": digest}
        try:
            sound = checked(replace(answer, source=source), desk.batch, desk.names, place)
        except DataError as error:
            problems.append(Problem(error.where, error.problem, error.remedy))
            continue
        if sound.annotator != answer.annotator:
            merged[answer.annotator] = sound.annotator
        settled = settle(desk.book.get(sound.key), sound, desk.options.on_conflict)
        if settled is None:
            unsettled.append(f"task {sound.task_id} by {sound.annotator}")
            continue
        counts[settled.outcome] += 1
        desk.book[sound.key] = settled.answer
    _refuse(path, unsettled, problems, desk.options)
    notes = [*returned.notes, *_strangers(returned.answers, merged, desk.batch)]
    return FileReport(str(path), digest, name, False, counts, problems, returned.ignored, merged, notes)


def _place(path: Path, answer: Answer, position: int) -> str:
    record = str(answer.source.get("record_id") or position)
    return f"{path}:{record if record.startswith('row ') else f'answer {record}'}"


def _refuse(path: Path, unsettled: Sequence[str], problems: Sequence[Problem], options: TakeOptions) -> None:
    if unsettled:
        more = f" and {len(unsettled) - 5} more" if len(unsettled) > 5 else ""
        raise DataError(
            "differs from an earlier answer (of another file, or of this one), and no time tells which is newer: "
            f"{'; '.join(unsettled[:5])}{more}",
            where=str(path),
            remedy="say --on-conflict newest-file (the later one stands) or keep-first (the earlier one stands); "
            "the other answer is kept beside it, under superseded",
        )
    if problems and options.strict:
        told = "".join(f"\n     {one.where}: {one.problem}" for one in problems[:20])
        raise DataError(
            f"{len(problems)} problems, and --strict takes a file whole or not at all:{told}",
            where=str(path),
            remedy="mend them, or import without --strict: all but those tasks is taken",
        )


def _strangers(answers: Sequence[Answer], merged: Mapping[str, str], batch: Batch) -> list[str]:
    given = {(merged.get(a.annotator, a.annotator), a.task_id) for a in answers}
    new = sorted({name for name, _ in given if name.strip()} - set(batch.annotators))
    own = {(one.annotator, one.task_id) for one in batch.assignments}
    others = sum(name in batch.annotators and (name, task) not in own and task in batch.by_id for name, task in given)
    notes = [f"not among the annotators of the batch: {', '.join(new[:10])}"] if new else []
    return notes + ([f"{others} answers to tasks that were another annotator's"] if others else [])


def _drop(reports: Sequence[FileReport], book: Book, found: Sequence[Suspect]) -> list[FileReport]:
    """Take the suspect answers that came from these files out of the book, and count them as dropped."""
    unread = {(one.annotator, task_id) for one in found for task_id in one.task_ids}
    made = []
    for report in reports:
        counts = Counter(report.counts)
        for key in [] if report.already else _of_file(book, report.sha256):
            if (key[2], key[1]) in unread:
                _withdraw(book, key)
                counts["taken" if counts["taken"] else "replaced"] -= 1
                counts["dropped"] += 1
        made.append(replace(report, counts=+counts))
    return made


def _of_file(book: Book, digest: str) -> list[tuple[str, str, str]]:
    return [key for key, answer in book.items() if answer.source.get("file_sha256") == digest]


def _withdraw(book: Book, key: tuple[str, str, str]) -> None:
    """Take an answer out of the book; one of another file that it had replaced stands again."""
    gone = book.pop(key)
    others = [row for row in gone.superseded if row["source"].get("file_sha256") != gone.source.get("file_sha256")]
    if others:
        book[key] = answer_of({**others[0], "schema": ANSWER, "superseded": others[1:]}, f"superseded answer {key}")


def _is_logged(log: Sequence[Mapping[str, Any]], digest: str, options: TakeOptions) -> bool:
    """Whether this file was last taken in the same way: with another map or other names it is read again."""
    lines = [line for line in log if line.get("sha256") == digest]
    return bool(lines) and lines[-1].get("options") == _reading(options)


def _reading(options: TakeOptions) -> dict[str, Any]:
    """The options that say what a file means."""
    read = {key: dict(value) if isinstance(value, Mapping) else value for key, value in vars(options.read).items()}
    chosen = {"drop_suspect": options.drop_suspect, "on_conflict": options.on_conflict}
    return {"tool": options.tool, **read, "aliases": dict(options.aliases), **chosen}


def _log_line(report: FileReport, options: TakeOptions) -> dict[str, Any]:
    return {
        "schema": LOG_SCHEMA,
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "file": Path(report.file).name,
        "sha256": report.sha256,
        "tool": report.tool,
        "options": _reading(options),
        "on_conflict": options.on_conflict,
        "counts": {**report.counts, "problems": len(report.problems), "ignored": dict(report.ignored)},
        "problems": [asdict(problem) for problem in report.problems],
        "merged": dict(report.merged),
        "notes": list(report.notes),
    }


def _write(folder: Path, book: Book, raw: Mapping[str, tuple[Path, bytes]], log: list[Any]) -> None:
    # the log last: an import that was cut off before it is done again, and finds its answers as duplicates
    for digest, (path, data) in raw.items():
        keep_raw(folder, path.name, digest, data)
    write_answers(folder, book.values())
    write_log(folder, log)
