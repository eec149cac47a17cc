"""Argilla 2 (tried with 2.8.0): settings and records out, the records of its REST interface back.

Only REST answers hold rankings. The exports of Argilla's own client (`to_json`, `to_list`, `to_datasets`) give the
options in the order of the question, whatever the person did, and are refused (argilla-io/argilla#5712). A ranking
question has fixed options `completion_1` .. `completion_K`, so tasks of each size have a dataset of their own, and
which completion a place holds travels in the record's metadata.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import FLAGS, Answer
from stages.annotation.times import written
from stages.exchange import argilla_client
from stages.exchange.cells import letter
from stages.exchange.judgements import Judgement, Parsed, dense_ranks, match
from stages.exchange.returned import name_of, number, parsed, read_json, read_lines, read_text
from stages.exchange.tools import ExportOptions, Problem, ReadOptions, Returned
from stages.exchange.work import (
    Work,
    by_size,
    open_work,
    shared_order,
    showable,
    shown_messages,
    write_json,
    write_text,
)
from stages.formats.rules import describe

NAME = "argilla"
REST = "GET /api/v1/datasets/<id>/records?include=responses"
FETCH = f"use {REST}, or `python argilla_client.py fetch` from the exported folder, and import what it writes"
PLACE = re.compile(r"completion_(\d{1,4})")


def export(batch: Batch, folder: Path, options: ExportOptions) -> Sequence[Path]:
    """A folder `k3`, `k4`, ... for each number of completions with settings.json and records.json; client and howto."""
    work = open_work(batch, options)
    files = []
    for size, group in by_size(work).items():
        files.append(write_json(folder / f"k{size}" / "settings.json", _settings(batch, size, group)))
        files.append(write_json(folder / f"k{size}" / "records.json", [_record(batch, one) for one in group]))
    if not files:
        return []
    client = Path(argilla_client.__file__).read_text("utf-8")
    howto = HOWTO.format(batch=batch.batch_id, tasks=len(work))
    return [*files, write_text(folder / "argilla_client.py", client), write_text(folder / "howto.md", howto)]


def matches(path: Path, head: Any) -> bool:
    """REST records, also a bare list of them, and what Argilla's own client exports (which `read` refuses)."""
    if isinstance(head, str):
        return head.lstrip().startswith("{") and '"_server_id"' in head
    rows = head.get("items") if isinstance(head, dict) else head
    first = rows[0] if isinstance(rows, list) and rows else None
    return isinstance(first, dict) and ("_server_id" in first or {"external_id", "fields"} <= set(first))


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The submitted answers; drafts are counted, discarded records are skipped tasks."""
    return match(parse(path), batch, options, path)


def parse(path: Path) -> Parsed:
    """The judgements in REST records; DataError for the client's exports and for records without responses."""
    rows, notes = _rows(path)
    _refuse_client_exports(rows, path)
    found: list[Judgement | Problem | str] = []
    for place, row in enumerate(rows, start=1):
        found += _of_record(row, f"record {place}", path)
    return Parsed(
        [one for one in found if isinstance(one, Judgement)],
        [one for one in found if isinstance(one, Problem)],
        Counter(one for one in found if isinstance(one, str)),
        notes,
    )


def _rows(path: Path) -> tuple[list[Any], list[str]]:
    text = read_text(path).strip()
    if text.startswith("{") and "\n{" in text:  # JSON lines
        return [row for _, row in read_lines(path)], []
    page = parsed(text, str(path), first_line=1) if text.startswith("{") else read_json(path)
    rows = page.get("items", [page] if "_server_id" in page else None) if isinstance(page, dict) else page
    if not isinstance(rows, list):
        raise DataError(f"is {describe(page)} without a list of records", where=str(path), remedy=FETCH)
    total = page.get("total") if isinstance(page, dict) else None
    if isinstance(total, int) and total > len(rows):
        return rows, [f"this file has {len(rows)} of the dataset's {total} records: fetch the others too (offset=...)"]
    return rows, []


def _refuse_client_exports(rows: Sequence[Any], path: Path) -> None:
    records = [row for row in rows if isinstance(row, dict)]
    flat = [row for row in records if any(str(key).endswith(".responses") for key in row)]
    nested = [row for row in records if isinstance(row.get("responses"), dict)]
    if not flat and not nested:
        return
    values = [v for row in flat for key, held in row.items() if key.endswith(".responses") for v in _listed(held)]
    values += [v.get("value") for row in nested for held in row["responses"].values() for v in _dicts(held)]
    if any(isinstance(value, list) for value in values):
        reason = "which loses rankings: it gives the options in one order, whatever people did (argilla#5712)"
    else:
        reason = "of a dataset without a ranking question, and not of a batch that posttune exported"
    raise DataError(f"is an export of Argilla's own client, {reason}", where=str(path), remedy=FETCH)


def _of_record(row: Any, where: str, path: Path) -> list[Judgement | Problem | str]:
    """One entry for each response, and one for a record that has none."""
    if not isinstance(row, dict) or name_of(row.get("external_id")) is None:
        return [Problem(f"{path}:{where}", "has no external_id, which is the task", "push the exported records as is")]
    responses = row.get("responses")
    if responses is None:
        return [Problem(f"{path}:{where}", "was fetched without its responses", FETCH)]
    if not isinstance(responses, list):
        return [Problem(f"{path}:{where}", f"its responses are {describe(responses)}", FETCH)]
    found: list[Judgement | Problem | str] = []
    for place, response in enumerate(responses, start=1):
        here = f"{where}, response {place}"
        if isinstance(response, dict) and response.get("status") == "draft":
            found.append("a draft that was not submitted")
        else:
            found.append(_guarded(f"{path}:{here}", here, partial(_of_response, response, row)))
    return found or ["a record without responses"]


def _guarded(place: str, where: str, take: Callable[[], Answer]) -> Judgement | Problem:
    try:
        return Judgement(where, take())
    except DataError as error:
        return Problem(place, error.problem, error.remedy)


def _of_response(response: Any, record: Mapping[str, Any]) -> Answer:
    if not isinstance(response, dict) or response.get("status") not in ("submitted", "discarded"):
        found = response.get("status") if isinstance(response, dict) else describe(response)
        raise DataError(f"is {found!r}; submitted, draft or discarded is allowed", remedy=FETCH)
    values, metadata = response.get("values") or {}, record.get("metadata")
    if not isinstance(values, dict) or not isinstance(metadata, dict):
        raise DataError("has no values, or its record no metadata", remedy=FETCH)
    person = name_of(response.get("user_id"))
    shown, skipped = _completion_ids(metadata), response["status"] == "discarded"
    ranks = {} if skipped else _ranks(values, shown)
    flags = () if skipped else tuple(flag for flag in map(str, _listed(_value(values.get("flags")))) if flag != "ok")
    comment = _value(values.get("comment"))
    at = written(response.get("updated_at"))
    return Answer(
        name_of(metadata.get("batch_id")) or "",
        name_of(record["external_id"]) or "",
        person or "",
        "skipped" if skipped else "ranked",
        ranks=dense_ranks(ranks),
        task_digest=name_of(metadata.get("task_digest")),
        shown=shown,
        ratings=_ratings(values, shown),
        flags=flags,
        comment=comment if isinstance(comment, str) else "",
        submitted_at=at,
        touched=True if ranks else None,  # cards start outside the places: an order is made, never left as it was
        source={"tool": NAME, "record_id": name_of(response.get("id")), "annotator_raw": person},
    )


def _ranks(values: Mapping[str, Any], shown: Sequence[str]) -> dict[str, float]:
    rankings = [held for held in map(_value, values.values()) if isinstance(held, list) and _dicts(held)]
    if len(rankings) > 1:
        raise DataError("answers several ranking questions", remedy="keep one ranking question a dataset")
    ranks: dict[str, float] = {}
    for one in rankings[0] if rankings else []:
        place, rank = (one.get("value"), number(one.get("rank"))) if isinstance(one, dict) else (None, None)
        if rank is None:
            raise DataError("has an option without a rank", remedy=FETCH)
        name = _placed(place, shown)
        if name in ranks or not 1 <= rank <= len(shown):
            raise DataError(f"ranks {place} twice or out of 1 to {len(shown)}", remedy=FETCH)
        ranks[name] = rank
    return ranks


def _ratings(values: Mapping[str, Any], shown: Sequence[str]) -> dict[str, dict[str, float]]:
    found = {}
    for question, held in values.items():
        place = re.fullmatch(r"rating_(\d{1,4})", question)
        if place and (rating := number(_value(held))) is not None:
            found[_placed(f"completion_{place[1]}", shown)] = {"overall": rating}
    return found


def _placed(place: Any, shown: Sequence[str]) -> str:
    found = PLACE.fullmatch(place) if isinstance(place, str) else None
    if not found or not 1 <= int(found[1]) <= len(shown):
        raise DataError(
            f"ranks {place!r}; completion_1 to completion_{len(shown)} are the record's",
            remedy="push the exported records as they are: metadata.completion_ids says which completion is where",
        )
    return shown[int(found[1]) - 1]


def _completion_ids(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    held = metadata.get("completion_ids")
    names = held.split(",") if isinstance(held, str) else held
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError("has no completion_ids in its metadata", remedy="push the exported records as they are")
    return tuple(name.strip() for name in names)


def _value(held: Any) -> Any:
    return held.get("value") if isinstance(held, dict) else None


def _listed(held: Any) -> list[Any]:
    return held if isinstance(held, list) else [] if held is None else [held]


def _dicts(held: Any) -> list[dict[str, Any]]:
    return [one for one in _listed(held) if isinstance(one, dict)]


def _settings(batch: Batch, size: int, work: Sequence[Work]) -> dict[str, Any]:
    return {
        "name": f"{batch.batch_id}-k{size}",
        "guidelines": showable(batch.instructions),
        "places": {f"completion_{n + 1}": letter(n) for n in range(size)},
        "flags": dict(FLAGS),
        "min_submitted": max(len(one.annotators) for one in work),
    }


def _record(batch: Batch, one: Work) -> dict[str, Any]:
    task, order = one.task, shared_order(one.task)
    texts = {f"completion_{n}": showable(task.text(name)) for n, name in enumerate(order, start=1)}
    return {
        "id": task.task_id,
        "fields": {"prompt": shown_messages(task.messages), **texts},
        "metadata": {
            "batch_id": batch.batch_id,
            "task_digest": task.digest,
            "completion_ids": ",".join(order),
        },
    }


HOWTO = """# Batch {batch} in Argilla

{tasks} tasks, in a folder for each number of completions (`k3` holds tasks of three).

1. `pip install argilla` (2.8), and set `ARGILLA_API_URL`, `ARGILLA_API_KEY` (an owner's or admin's) and
   `ARGILLA_WORKSPACE`.
2. `python argilla_client.py push k3`, and so on for each folder: it makes the dataset `{batch}-k3`.
3. People rank. All see a task's completions in one order, shuffled task by task. A discarded record counts as skipped;
   a draft counts as not done.
4. `python argilla_client.py fetch k3` writes `k3/answers.json` and `users.json`. Import them:
   the answers as the file, the users with `--users` (Argilla names people by number).

Do not export with the client's `to_json`, `to_list` or `to_datasets`: they lose the rankings (argilla#5712), and the
import refuses them. By hand: `GET $ARGILLA_API_URL/api/v1/datasets/<id>/records?include=responses&limit=500&offset=0`
with the header `X-Argilla-Api-Key`.
"""
