"""Any CSV file or workbook, by a map from our fields to its columns: what Mechanical Turk, Scale and their like send.

    annotator=WorkerId task_id=Input.task_id 'rank.{label}=Answer.rank_{label}'

Four layouts, told by the fields that are mapped: a row a task with a rank a column (`rank.{label}`), a row a task with
one order such as A>B=C (`ranking`), a row a task of two with the better one (`winner`), a row a completion
(`completion_id`, `rank`). A label is a completion's id, its letter or its number in the order shown: of the columns
`id.{label}` or `shown` where they are mapped, else of tasks.jsonl.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, nearest
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer
from stages.exchange.cells import SKIP, flags_of, moment_of, typed
from stages.exchange.filled_in import blank, judged, wrong_batch
from stages.exchange.layouts import LAYOUTS, LONG, Layout, MappedSheet, number_of
from stages.exchange.table import Headed, Row, fold, headed, read_tables
from stages.exchange.tools import Problem, ReadOptions, Returned

NAME = "mapped"
FIELDS = ("task_id", "annotator", "batch_id", "rank.{label}", "id.{label}", "ranking", "winner", "strength",
          "completion_id", "rank", "shown", "flags", "comment", "status", "submitted_at", "started_at",
          "active_seconds")  # fmt: skip
NO_ANSWER = {"draft", "rejected", "returned", "abandoned"}  # statuses of rows that are nobody's last word
SKIPPED = {"skipped", "discarded", "ignored"}


def matches(path: Path, head: Any) -> bool:
    """Never by looking: a map of columns names this reader."""
    return False


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The answers in the file's rows; every task of an annotator is an answer, a problem or counted as no answer."""
    file = _mapped(path, batch, options)
    layout = _layout(file.columns)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in file.sheet.rows:
        other = typed(file.cell(row, "batch_id"))
        if other and other != batch.batch_id:
            raise wrong_batch(other, batch, file.place(row, "batch_id"))
        name = typed(file.cell(row, "annotator"))
        once = () if layout == LONG else (row[0],)  # elsewhere every row is an answer of its own
        groups.setdefault((name, typed(file.cell(row, "task_id")), *once), []).append(row)
    found = [_take(file, LAYOUTS[layout], blank(options, str(key[0])), rows) for key, rows in groups.items()]
    return Returned(
        answers=[one for one in found if isinstance(one, Answer)],
        problems=[one for one in found if isinstance(one, Problem)],
        ignored=Counter(one for one in found if isinstance(one, str)),
        notes=_notes(file, layout),
    )


def _mapped(path: Path, batch: Batch, options: ReadOptions) -> MappedSheet:
    given = dict(options.columns)
    for field in given:
        if field not in FIELDS and not re.fullmatch(r"(rank|id)\..+", field):
            raise DataError(f"there is no field '{field}'", where="--map", remedy=nearest(field, FIELDS))
    for field in ("task_id",) if options.annotator else ("task_id", "annotator"):
        if field not in given:
            hint = ", or say whose file it is with --annotator" if field == "annotator" else ""
            raise DataError(
                f"no column for {field}", where="--map", remedy=f"add --map {field}=<the file's column>{hint}"
            )
    plain = {field: title for field, title in given.items() if "{label}" not in field}
    tables = read_tables(path)
    sheet = next((found for table in tables if (found := headed(table, plain.values()))), None)
    if sheet is None:
        raise _no_columns(path, tables[0].rows[0][1] if tables and tables[0].rows else (), plain.values())
    return MappedSheet(sheet, plain | _labels(path, sheet, given), batch)


def _no_columns(path: Path, titles: Sequence[Any], wanted: Iterable[str]) -> DataError:
    known = [typed(title) for title in titles if typed(title)]
    folded = {fold(title) for title in known}
    missing = next((title for title in wanted if fold(title) not in folded), "")
    return DataError(
        f"has no column '{missing}' in the same row of titles as the other columns of the map",
        where=str(path),
        remedy=nearest(missing, known[:100]),
    )


def _labels(path: Path, sheet: Headed, given: Mapping[str, str]) -> dict[str, str]:
    """rank.A -> Answer.rank_A, and so on, of the fields with {label}."""
    found: dict[str, str] = {}
    for field, title in given.items():
        if "{label}" not in field:
            continue
        pattern = re.compile(re.escape(fold(title)).replace(re.escape("{label}"), "(.+)"))
        columns = {hit[1]: column for column in sheet.columns if (hit := pattern.fullmatch(column))}
        if not columns or "{label}" not in title:
            raise DataError(
                f"no column looks like '{title}'; {{label}} stands for what differs (A, B, ...)",
                where=str(path),
                remedy=nearest(title, list(sheet.columns)[:100]),
            )
        found |= {field.replace("{label}", label): column for label, column in columns.items()}
    return found


def _layout(columns: Mapping[str, str]) -> str:
    stems = {"rank.{label}" if field.startswith("rank.") else field for field in columns}
    kinds = [name for name in LAYOUTS if set(name.split(" and ")) <= stems]
    if len(kinds) != 1:
        found = f"{'; '.join(kinds)} are mapped" if kinds else "no ranks are mapped"
        raise DataError(
            f"{found}; one layout is needed", where="--map", remedy=f"map one of these: {'; '.join(LAYOUTS)}"
        )
    return kinds[0]


def _notes(file: MappedSheet, layout: str) -> list[str]:
    notes = [file.sheet.table.note] if file.sheet.table.note else []
    if layout != LONG and not file.labelled("id") and "shown" not in file.columns:
        notes.append(
            "labels A, B, ... were read in the order of tasks.jsonl; where the file showed another, map "
            "id.{label} or shown"
        )
    return notes


def _take(file: MappedSheet, layout: Layout, empty: Answer, rows: Sequence[Row]) -> Answer | Problem | str:
    """The rows of one answer as that, as a problem, or as the reason why they are none."""
    row = rows[0]
    try:
        status = typed(file.cell(row, "status")).casefold()
        if status in NO_ANSWER:
            return f"status {status}"
        named = typed(file.cell(row, "task_id"))
        task = file.batch.by_id.get(named)
        if task is None:
            raise DataError(
                f"is {named[:40]!r}, which is no task of {file.batch.batch_id}",
                where=file.place(row, "task_id"),
                remedy="map task_id to the column with our ids (t_...)",
            )
        answer = _about(file, rows, replace(empty, batch_id=task.batch_id, task_id=task.task_id))
        ranks, answer = layout(file, rows, task, answer)
        if status in SKIPPED and not ranks:
            answer = replace(answer, flags=(*answer.flags, SKIP))
        if not ranks and not answer.flags:
            return "not answered"
        answer = replace(answer, task_digest=task.digest, source={**answer.source, "record_id": f"row {row[0]}"})
        return judged(answer, ranks, task, file.place(row, "flags"))
    except DataError as error:
        return Problem(error.where, error.problem, error.remedy)


def _about(file: MappedSheet, rows: Sequence[Row], answer: Answer) -> Answer:
    """`answer` with what the row says beside its ranks."""
    row = rows[0]
    comments = dict.fromkeys(typed(file.cell(one, "comment")) for one in rows)
    return replace(
        answer,
        flags=flags_of([file.cell(one, "flags") for one in rows]),
        comment="\n".join(text for text in comments if text),
        submitted_at=moment_of(file.cell(row, "submitted_at"), file.place(row, "submitted_at")),
        started_at=moment_of(file.cell(row, "started_at"), file.place(row, "started_at")),
        active_seconds=number_of(file, row, "active_seconds"),
    )
