"""The folder of a batch's answers: rankings.jsonl, import_log.jsonl and the files as they came back.

Every file is written under another name and then renamed, and one import at a time holds the lock: whoever reads sees
the answers before an import or after it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.schema import ANSWER, Answer
from stages.annotation.validate import check, check_version

RANKINGS, LOG, RETURNS, LOCK = "rankings.jsonl", "import_log.jsonl", "returns", "import.lock"
NAMES = {field.name for field in fields(Answer)} - {"extra"}


def read_answers(folder: Path) -> tuple[Answer, ...]:
    """All answers that stand, in the order they came in; none where nothing was imported yet. DataError with the row
    where the file was edited into something else, and where it is gone though files were imported."""
    if is_lost(folder):
        raise DataError("is gone", where=str(folder / RANKINGS), remedy=f"import the files in {RETURNS}/ again")
    return tuple(answer_of(row, where) for where, row in _rows(folder / RANKINGS))


def is_lost(folder: Path) -> bool:
    """Whether the answers are gone though files were imported: they are then read anew."""
    return (folder / LOG).exists() and not (folder / RANKINGS).exists()


def answer_of(row: Mapping[str, Any], where: str) -> Answer:
    """The answer in a line of rankings.jsonl, checked; fields that this version does not know are kept."""
    check_version(row, ANSWER, where)
    check(row, ANSWER, where)
    known = {name: row[name] for name in NAMES & set(row)}
    lists = {name: tuple(known[name]) for name in ("shown", "flags", "warnings", "superseded") if name in known}
    extra = {name: value for name, value in row.items() if name not in NAMES and name != "schema"}
    return Answer(**{**known, **lists, "extra": extra})


def read_log(folder: Path) -> list[dict[str, Any]]:
    """One line a file that was imported."""
    return [row for _, row in _rows(folder / LOG)]


def write_answers(folder: Path, answers: Iterable[Answer]) -> None:
    """Replace rankings.jsonl."""
    _replace(folder / RANKINGS, _text(answer.as_row() for answer in answers))


def write_log(folder: Path, lines: Iterable[Mapping[str, Any]]) -> None:
    """Replace import_log.jsonl."""
    _replace(folder / LOG, _text(lines))


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file of this folder by a line a row."""
    _replace(path, _text(rows))


def digest_of(folder: Path) -> str:
    """What the answers that stand are known by."""
    file = folder / RANKINGS
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else ""


def write_json(path: Path, value: Mapping[str, Any]) -> Path:
    """Replace a file of this folder by one JSON object."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def keep_raw(folder: Path, name: str, digest: str, data: bytes) -> Path:
    """The file as it came back, under returns/<sha256>__<name>."""
    plain = re.sub(r"[^\w.-]+", "_", name)[-100:]
    path = folder / RETURNS / f"{digest}__{plain}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        _replace(path, data)
    return path


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one import; DataError where another one has it. The kernel frees it with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise DataError(f"cannot be written ({error.strerror})", where=str(folder), remedy="check the path") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                f"another import is writing here ({error.strerror})",
                where=str(folder),
                remedy="wait until it is done, then import again",
            ) from error
        yield
    finally:
        os.close(lock)


def _text(rows: Iterable[Mapping[str, Any]]) -> bytes:
    # ensure_ascii: a comment may hold half of a surrogate pair, which is no UTF-8
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a killed import left is written over
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise DataError(
            f"cannot be written ({error.strerror})", where=str(path), remedy="make room, then import again"
        ) from error


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text("utf-8").split("\n")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise DataError(f"cannot be read ({error})", where=str(path), remedy="restore it, or import anew") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}:row {number}"
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _damaged(f"is not JSON ({error})", where) from error
        if not isinstance(row, dict):
            raise _damaged("is no object", where)
        yield where, row


def _damaged(problem: str, where: str) -> DataError:
    remedy = f"the file was edited: move it away and import the files in {RETURNS}/ again"
    return DataError(problem, where=where, remedy=remedy)
