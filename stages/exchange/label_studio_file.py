"""What Label Studio exports hold: tasks, annotations and who made them.

JSON is a list of tasks with their annotations. JSON_MIN and CSV have one row an annotation, in which the result items
stand under the names of their tags; CSV has nested values as JSON text.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.schema import Answer
from stages.annotation.times import written
from stages.exchange.judgements import Judgement, Parsed
from stages.exchange.label_studio_results import judged
from stages.exchange.returned import name_of, read_json, read_rows, read_text, seconds
from stages.exchange.tools import Problem
from stages.formats.rules import describe

SHAPES = {"ranker": "ranker", "selected": "pairwise", "rating": "rating", "number": "number",
          "choices": "choices", "text": "textarea"}  # key of an item's value -> its type  # fmt: skip
DATA = re.compile(r"left|right|messages|items|completion_(ids|\d+)")  # a model may have written the shape of an answer
CHOICES, TEXTS = ("strength", "flags"), ("comment",)  # our tags whose lone value stands bare in JSON_MIN and CSV
LEAVES_OUT = "this kind of export leaves out skipped tasks and drafts: export JSON to have them"
NO_ID = "has no task_id in its data"


def is_one(head: Any) -> bool:
    """Whether a file that begins like this is one of these exports."""
    if isinstance(head, str):
        return {"annotation_id", "annotator", "lead_time"} <= {name.strip('" ') for name in head.strip().split(",")}
    rows = head if isinstance(head, list) else []
    return bool(rows) and isinstance(rows[0], dict) and (
        {"annotations", "data"} <= set(rows[0]) or {"annotation_id", "annotator"} <= set(rows[0])
    )  # fmt: skip


def parse(path: Path) -> Parsed:
    """The judgements in an export; DataError where it is torn, or no task of it is one that posttune exported."""
    notes: list[str] = []
    if read_text(path).lstrip()[:1] in ("[", "{"):
        rows = read_json(path)
        if not isinstance(rows, list):
            raise DataError(f"is {describe(rows)}; a list is needed", where=str(path), remedy="export the project")
        numbered = list(enumerate(rows, start=1))
    else:
        numbered = [(n, {key: _cell(key, text) for key, text in row.items()}) for n, row in read_rows(path)]
    found: list[Judgement | Problem | str] = []
    for place, row in numbered:
        if isinstance(row, dict) and "annotations" in row:
            found += _of_task(row, f"task {place}", path)
        else:
            notes = [LEAVES_OUT]
            found.append(_guarded(f"row {place}", path, partial(_of_row, row)))
    _check_ours(found, numbered, path)
    return Parsed(
        [one for one in found if isinstance(one, Judgement)],
        [one for one in found if isinstance(one, Problem)],
        Counter(one for one in found if isinstance(one, str)),
        notes,
    )


def _check_ours(found: Sequence[object], rows: Sequence[tuple[int, Any]], path: Path) -> None:
    if found and all(isinstance(one, Problem) and one.problem == NO_ID for one in found):
        row = next(row for _, row in rows if isinstance(row, dict))
        data = row["data"] if isinstance(row.get("data"), dict) else row
        raise DataError(
            f"none of its tasks has a task_id; they hold {', '.join(map(str, list(data)[:8])) or 'nothing'}",
            where=str(path),
            remedy="these tasks were not exported from a batch, so nothing says which completions were judged: "
            "bring them as a CSV file with a column map, or as a data source of comparisons",
        )


def _of_task(task: Mapping[str, Any], where: str, path: Path) -> list[Judgement | Problem | str]:
    """One entry for each annotation and draft, and one for a task that has neither."""
    annotations, drafts, data = task["annotations"], task.get("drafts") or [], task.get("data")
    if not isinstance(annotations, list) or not isinstance(drafts, list):
        return [Problem(f"{path}:{where}", "its annotations are no list", "export the project as JSON")]
    if not isinstance(data, dict) or name_of(data.get("task_id")) is None:
        return [Problem(f"{path}:{where}", NO_ID, "import the exported tasks into Label Studio as they are")]
    found: list[Judgement | Problem | str] = ["a draft that was not submitted" for _ in drafts]
    for place, annotation in enumerate(annotations, start=1):
        here = f"{where}, annotation {place}"
        found.append(_guarded(here, path, partial(_of_annotation, annotation, data)))
    return found or ["a task without annotations"]


def _guarded(where: str, path: Path, take: Callable[[], Answer]) -> Judgement | Problem:
    try:
        return Judgement(where, take())
    except DataError as error:
        return Problem(f"{path}:{where}", error.problem, error.remedy)


def _of_annotation(annotation: Any, data: Mapping[str, Any]) -> Answer:
    if not isinstance(annotation, dict) or not isinstance(annotation.get("result"), list):
        raise DataError("is no annotation: it has no list of results", remedy="export the project as JSON")
    blank = _blank(data, annotation, annotation.get("completed_by"))
    if annotation.get("was_cancelled"):
        return replace(blank, status="skipped")
    answer = judged(blank, annotation["result"])
    updater, person = _person(annotation.get("updated_by"))[0], blank.source["annotator_raw"]
    if updater and person and updater != person:
        answer = replace(answer, warnings=(*answer.warnings, f"updated_by {updater}"))
    return answer


def _of_row(row: Any) -> Answer:
    if not isinstance(row, dict) or "annotation_id" not in row:
        raise DataError("is no annotation: it has no annotation_id", remedy="export JSON, JSON_MIN or CSV")
    if name_of(row.get("task_id")) is None:
        raise DataError(NO_ID, remedy="import the exported tasks into Label Studio as they are")
    return judged(_blank(row, {**row, "id": row["annotation_id"]}, row.get("annotator")), list(_items(row)))


def _blank(data: Mapping[str, Any], envelope: Mapping[str, Any], person: Any) -> Answer:
    """All of an answer but the judgement."""
    user, name = _person(person)
    return Answer(
        name_of(data.get("batch_id")) or "",
        name_of(data.get("task_id")) or "",
        name,
        "ranked",
        task_digest=name_of(data.get("task_digest")),
        shown=_offered(data),
        active_seconds=seconds(envelope.get("lead_time")),
        submitted_at=written(envelope.get("updated_at")),
        source={"tool": "label-studio", "record_id": name_of(envelope.get("id")), "annotator_raw": user},
    )


def _items(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Result items of a row of JSON_MIN or CSV, told from task data by their shape."""
    for name, value in row.items():
        if DATA.fullmatch(name):
            continue
        values = value if isinstance(value, list) else [value]
        kinds = {SHAPES[key] for one in values if isinstance(one, dict) for key in one if key in SHAPES}
        if len(kinds) == 1 and all(isinstance(one, dict) for one in values):
            yield from ({"type": kind, "from_name": name, "value": one} for one in values for kind in kinds)
        elif name in CHOICES and value not in (None, ""):
            yield {"type": "choices", "from_name": name, "value": {"choices": values}}
        elif name in TEXTS and value not in (None, ""):
            yield {"type": "textarea", "from_name": name, "value": {"text": values}}


def _cell(name: str, text: str) -> Any:
    """A CSV cell; nested values are JSON text. Ids and a comment that only looks like JSON stay text."""
    if text[:1] not in ("[", "{"):
        return text
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if name in TEXTS and not (isinstance(value, dict) and set(value) == {"text"}) else value


def _offered(data: Mapping[str, Any]) -> tuple[str, ...]:
    """The ids of a task's completions in the order shown; empty where its data do not say."""
    if isinstance(data.get("items"), list):
        names: list[Any] = [item.get("id") if isinstance(item, dict) else None for item in data["items"]]
        names.sort(key=_numeric)
    elif "left_id" in data:
        names = [data.get("left_id"), data.get("right_id")]
    else:
        ids = data.get("completion_ids")
        names = ids.split(",") if isinstance(ids, str) else ids if isinstance(ids, list) else []
    if not all(isinstance(name, str) for name in names):
        raise DataError("has completions without an id", remedy="import the exported tasks into Label Studio again")
    return tuple(map(str, names))


def _numeric(name: Any) -> float:
    """The page keeps items in an object: JavaScript puts keys that look like numbers first, in numeric order."""
    return int(name) if isinstance(name, str) and re.fullmatch(r"0|[1-9]\d{0,8}", name) else float("inf")


def _person(value: Any) -> tuple[str | None, str]:
    """(the tool's number, the best name there is) of a user who is a number, a text or an object."""
    if isinstance(value, dict):
        user = name_of(value.get("id"))
        return user, name_of(value.get("email")) or name_of(value.get("username")) or user or ""
    return name_of(value), name_of(value) or ""
