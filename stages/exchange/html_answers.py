"""The rankings file that is downloaded from the page -> answers, and what cannot be used, each with its reason.

{"schema": "pref.rankings/1", "batch_id", "batch_digest", "annotator", "page_version", "exported_at", "complete",
 "answers": [an answer without its source, ...], "drafts": [begun and not finished, ...]}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from pipeline.errors import DataError, first_line
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Task, ranked_answer
from stages.exchange.tools import Problem, ReadOptions, Returned

SCHEMA = "pref.rankings/"
MAJOR = "1"
STATUSES = ("ranked", "partial", "skipped", "flagged")
OURS = ("schema", "unranked", "source", "warnings", "superseded")  # an answer's fields that the import fills in


def matches(path: Path, head: Any) -> bool:
    """Whether the file says that it is a rankings file, of any version; torn ones say it in their first line."""
    if isinstance(head, Mapping):
        return str(head.get("schema", "")).startswith(SCHEMA)
    return isinstance(head, str) and head.lstrip("\ufeff \t").startswith("{") and f'"{SCHEMA}' in head


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The file's answers; DataError where it is torn, of another batch or of a newer major version."""
    content = path.read_bytes()
    head = _parsed(path, content)
    _must_belong(head, batch, path)
    raw = head.get("annotator") or options.annotator
    if not isinstance(raw, str):
        raise DataError("names no annotator", where=str(path), remedy="say whose file it is with --annotator")
    source = {
        "tool": "html",
        "tool_version": str(head.get("page_version")),
        "file_sha256": hashlib.sha256(content).hexdigest(),
        "annotator_raw": raw,
    }
    answers: list[Answer] = []
    problems: list[Problem] = []
    for number, given in enumerate(_rows(head, "answers", path), start=1):
        where = f"{path.name}: answer {number}"
        try:
            answers.append(_answer(given, batch, raw, options.person(raw), source))
        except DataError as error:
            problems.append(Problem(f"{where}, {error.where}" if error.where else where, error.problem, error.remedy))
    drafts = len(_rows(head, "drafts", path))
    return Returned(answers, problems, {"begun and not finished": drafts} if drafts else {})


class _Object(dict[str, Any]):
    """A JSON object that knows which of its names were written twice: json keeps the last and says nothing."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.doubled = sorted({name for name in names if names.count(name) > 1}) if len(self) < len(names) else []


def _parsed(path: Path, content: bytes) -> _Object:
    try:
        head = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_Object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"is no whole JSON file ({first_line(error)})",
            where=str(path),
            remedy="download it from the page again, or ask the annotator to send it again",
        ) from error
    version = str(head.get("schema", "")) if isinstance(head, _Object) else ""
    if not version.startswith(SCHEMA):
        raise DataError("is no file of rankings", where=str(path), remedy=f"its schema must be {SCHEMA}{MAJOR}")
    if version.removeprefix(SCHEMA).split(".")[0] != MAJOR:
        raise DataError(
            f"is of version {version.removeprefix(SCHEMA)[:20]!r}; this posttune reads version {MAJOR}",
            where=str(path),
            remedy="import it with the version of posttune that wrote the page",
        )
    return head


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _must_belong(head: Mapping[str, Any], batch: Batch, path: Path) -> None:
    for field, expected in (("batch_id", batch.batch_id), ("batch_digest", batch.digest)):
        if head.get(field) != expected:
            raise DataError(
                f"has {field} {str(head.get(field))[:80]}; this batch has {expected}",
                where=str(path),
                remedy="import it into the batch that the page was made from",
            )


def _rows(head: Mapping[str, Any], name: str, path: Path) -> list[Any]:
    rows = head.get(name, [] if name == "drafts" else None)
    if not isinstance(rows, list):
        raise DataError(f"has no list of {name}", where=str(path), remedy="download it from the page again")
    return rows


def _answer(given: Any, batch: Batch, raw: str, annotator: str, source: Mapping[str, Any]) -> Answer:
    if not isinstance(given, _Object):
        raise _edited("", f"is {type(given).__name__}; an object is needed")
    task = batch.by_id.get(str(given.get("task_id")))
    if task is None:
        raise _edited("", f"has task_id {str(given.get('task_id'))[:40]!r}, which the batch does not have")
    where = f"task {task.task_id}"
    for record in (given, given.get("ranks")):
        if isinstance(record, _Object) and record.doubled:
            raise _edited(where, f"says {record.doubled[0]} twice")
    for field, expected in (("batch_id", batch.batch_id), ("task_digest", task.digest), ("annotator", raw)):
        if given.get(field, expected) != expected:
            raise _edited(where, f"has {field} {str(given[field])[:80]}; {expected} is expected")
    fields = {name: _checked(name, given[name], where) for name in FIELDS if name in given}
    ranks = _ranks(given.get("ranks", {}), task, where)
    known = {*FIELDS, *OURS, "batch_id", "task_id", "task_digest", "annotator", "ranks"}
    extra = {name: value for name, value in given.items() if name not in known}
    answer = Answer(
        batch.batch_id, task.task_id, annotator, task_digest=task.digest, source=source, extra=extra,
        **{"status": "ranked", **fields},
    )  # fmt: skip
    answer = ranked_answer(answer, ranks, task.ids)
    if answer.shown and sorted(answer.shown) != sorted(task.ids):
        raise _edited(where, "shows other completions than the task has")
    tie = len(set(answer.ranks.values())) == 1
    if answer.strength is not None and (len(answer.ranks) != 2 or len(task.ids) != 2 or tie != (answer.strength == 0)):
        raise _edited(where, f"has strength {answer.strength}, which its ranks contradict")
    return answer


def _ranks(given: Any, task: Task, where: str) -> dict[str, float | None]:
    if not isinstance(given, dict):
        raise _edited(where, f"has ranks of type {type(given).__name__}; an object is needed")
    for name, rank in given.items():
        whole = _is_count(rank, 1) or (isinstance(rank, float) and rank.is_integer())
        if name in task.ids and rank is not None and not (whole and 1 <= rank <= len(task.ids)):
            raise _edited(where, f"gives {name} the rank {json.dumps(rank)[:40]}; 1 to {len(task.ids)} is allowed")
    return dict(given)


def _checked(name: str, value: Any, where: str) -> Any:
    holds, allowed = FIELDS[name]
    if not holds(value):
        raise _edited(where, f"has {name} {json.dumps(value)[:60]}; {allowed} is allowed")
    return tuple(value) if isinstance(value, list) else value


def _edited(where: str, problem: str) -> DataError:
    return DataError(problem, where=where, remedy="the file was edited: download it from the page again")


def _is_count(value: Any, least: int, most: float = float("inf")) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_number(value: Any, least: float = -1e9) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value < 1e9


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_ratings(value: Any) -> bool:
    rows = value.values() if isinstance(value, dict) else [None]
    return all(isinstance(row, dict) and all(_is_number(number) for number in row.values()) for row in rows)


# What an answer may say, and what is allowed there.
FIELDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "status": (lambda value: value in STATUSES, ", ".join(STATUSES)),
    "shown": (_is_texts, "a list of ids"),
    "strength": (lambda value: value is None or _is_count(value, 0, 3), "0 to 3 or null"),
    "ratings": (_is_ratings, "id -> criterion -> number"),
    "flags": (_is_texts, "a list of texts"),
    "skip_reason": (lambda value: value is None or isinstance(value, str), "text or null"),
    "comment": (lambda value: isinstance(value, str), "text"),
    "active_seconds": (lambda value: value is None or _is_number(value, 0), "a number of seconds or null"),
    "started_at": (lambda value: value is None or _is_time(value), "a time with its zone or null"),
    "submitted_at": (lambda value: value is None or _is_time(value), "a time with its zone or null"),
    "revision": (lambda value: _is_count(value, 1), "a whole number from 1"),
    "touched": (lambda value: value is None or isinstance(value, bool), "true, false or null"),
}
