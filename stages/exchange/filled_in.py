"""The long layout (`sheet.py`) read back, filled in by a person.

All that is read of a row is its ids, the rank, the comment and the flag. Every task of the file is an answer, a
problem with its cell, or counted under the reason why it is no answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Task, ranked_answer
from stages.exchange.cells import SKIP, flags_of, is_order, order_of, rank_of, typed
from stages.exchange.sheet import NEEDED, row_check
from stages.exchange.table import Headed, Row, Table, headed
from stages.exchange.tools import Problem, ReadOptions, Returned


def read(tables: Sequence[Table], batch: Batch, options: ReadOptions, annotator: str | None) -> Returned:
    """The answers in a file of this layout; `annotator` is whose it is where its rows do not say."""
    sheet = _the_sheet(tables)
    _check_batch(sheet, batch)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in sheet.rows:
        name = typed(sheet.cell(row, "annotator")) or annotator or ""
        groups.setdefault((name, typed(sheet.cell(row, "task_id"))), []).append(row)
    _check_rows(sheet, batch)
    found = [_take(sheet, batch, blank(options, name), rows) for (name, _), rows in groups.items()]
    return Returned(
        answers=[one for one in found if isinstance(one, Answer)],
        problems=[one for one in found if isinstance(one, Problem)],
        ignored=Counter(one for one in found if isinstance(one, str)),
        notes=[sheet.table.note] if sheet.table.note else [],
    )


def _the_sheet(tables: Sequence[Table]) -> Headed:
    found = [sheet for table in tables if (sheet := headed(table, NEEDED))]
    file = tables[0].file if tables else ""
    if not found:
        raise DataError(
            f"has no row of titles with the columns {', '.join(NEEDED)}",
            where=file,
            remedy="put back the columns from the file that was sent out, or name the file's own columns with --map",
        )
    if len(found) > 1:
        names = ", ".join(f"'{sheet.table.sheet}'" for sheet in found)
        raise DataError(f"the sheets {names} hold tasks; one is needed", where=file, remedy="remove the copy")
    return found[0]


def _check_batch(sheet: Headed, batch: Batch) -> None:
    for row in sheet.rows:
        other = typed(sheet.cell(row, "batch_id"))
        if other and other != batch.batch_id:
            raise wrong_batch(other, batch, sheet.place(row, "batch_id"))


def wrong_batch(found: str, batch: Batch, where: str) -> DataError:
    """The error of a file that answers something else."""
    return DataError(
        f"is of batch {found[:60]}; {batch.batch_id} is expected",
        where=where,
        remedy="import it into the run whose batch it answers",
    )


def _check_rows(sheet: Headed, batch: Batch) -> None:
    if sheet.rows and not any(_is_ours(sheet, row, batch) for row in sheet.rows):
        raise DataError(
            f"no row's ids belong together under {batch.batch_id}: the columns were sorted apart from each other, "
            "or the file is of another batch",
            where=sheet.place(sheet.rows[0], "row_check"),
            remedy="undo the sorting, or import the file into the run whose batch it answers",
        )


def _is_ours(sheet: Headed, row: Row, batch: Batch) -> bool:
    task_no, answer, task_id, name, check = (
        typed(sheet.cell(row, title)) for title in ("task_no", "answer", "task_id", "completion_id", "row_check")
    )
    return check.casefold() == row_check(batch, task_no, answer.upper(), task_id, name)


def blank(options: ReadOptions, said: str) -> Answer:
    """An answer of whoever the file names, of which nothing else is known."""
    name = options.person(said)
    return Answer("", "", name, "ranked", source={"annotator_raw": said or name})


def _take(sheet: Headed, batch: Batch, empty: Answer, rows: Sequence[Row]) -> Answer | Problem | str:
    """One task's rows as an answer, as a problem, or as the reason why they are no answer."""
    try:
        task = _task(sheet, batch, rows)
        return _answer(sheet, task, rows, replace(empty, batch_id=task.batch_id, task_id=task.task_id))
    except DataError as error:
        return Problem(error.where, error.problem, error.remedy)


def _task(sheet: Headed, batch: Batch, rows: Sequence[Row]) -> Task:
    named = typed(sheet.cell(rows[0], "task_id"))
    task = batch.by_id.get(named)
    if task is None:
        raise DataError(
            f"is {named[:40]!r}, which is no task of {batch.batch_id}" if named else "is empty; a task's id is needed",
            where=sheet.place(rows[0], "task_id"),
            remedy="put back the id from the file that was sent out",
        )
    seen: set[str] = set()
    for row in rows:
        name = typed(sheet.cell(row, "completion_id"))
        if name not in task.ids or name in seen:
            what = "is there twice" if name in seen else "the task does not have"
            raise DataError(
                f"is {name[:40]!r}, which {what}",
                where=sheet.place(row, "completion_id"),
                remedy=f"put back the ids of task {named} from the file that was sent out",
            )
        if not _is_ours(sheet, row, batch):
            raise DataError(
                "does not fit the row's task_no, answer and ids: one of them was edited or moved",
                where=sheet.place(row, "row_check"),
                remedy=f"put back these columns of task {named} from the file that was sent out",
            )
        seen.add(name)
    return task


def _answer(sheet: Headed, task: Task, rows: Sequence[Row], empty: Answer) -> Answer | str:
    letters = {typed(sheet.cell(row, "answer")).casefold(): _id(sheet, row) for row in rows}
    ranks = _ranks(sheet, task, rows, letters)
    flags = flags_of([sheet.cell(row, "flag") for row in rows])
    comments = dict.fromkeys(typed(sheet.cell(row, "comment")) for row in rows)
    comment = "\n".join(text for text in comments if text)
    if not ranks and not flags:
        return "commented, but neither ranked nor flagged" if comment else "not answered yet"
    shown = tuple(letters[name] for name in sorted(letters, key=lambda name: (len(name), name)))
    source = {**empty.source, "record_id": f"row {rows[0][0]}"}
    said = replace(empty, flags=flags, comment=comment, shown=shown, task_digest=task.digest, source=source)
    return judged(said, ranks, task, sheet.place(rows[0], "flag"))


def judged(answer: Answer, ranks: Mapping[str, int], task: Task, where: str) -> Answer:
    """`answer` with these ranks, and the status that they and its flags (skip is one of them) make."""
    if SKIP not in answer.flags:
        return ranked_answer(replace(answer, touched=True if ranks else None), ranks, task.ids)
    if ranks:
        raise DataError("the task is skipped and ranked", where=where, remedy="remove the flag, or the ranks")
    flags = tuple(flag for flag in answer.flags if flag != SKIP)
    return replace(answer, status="skipped", skip_reason=answer.comment or None, flags=flags)


def _id(sheet: Headed, row: Row) -> str:
    return typed(sheet.cell(row, "completion_id"))


def _ranks(sheet: Headed, task: Task, rows: Sequence[Row], letters: Mapping[str, str]) -> dict[str, int]:
    filled = [row for row in rows if typed(sheet.cell(row, "rank"))]
    orders = [row for row in filled if is_order(sheet.cell(row, "rank"))]
    if not orders:
        given = {
            _id(sheet, row): rank_of(sheet.cell(row, "rank"), len(task.ids), sheet.place(row, "rank")) for row in filled
        }
        return {name: rank for name, rank in given.items() if rank is not None}
    if len({typed(sheet.cell(row, "rank")) for row in filled}) > 1:
        raise DataError(
            "a whole order stands beside other ranks of the task",
            where=sheet.place(orders[0], "rank"),
            remedy="keep the order, or a number in each row",
        )
    return order_of(sheet.cell(orders[0], "rank"), letters, sheet.place(orders[0], "rank"))
