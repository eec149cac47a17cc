"""The layouts that a mapped file may have: each makes ranks by completion id of the rows of one answer."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Task
from stages.exchange.cells import letter, order_of, rank_of, typed
from stages.exchange.table import Headed, Row

TIES = {"tie", "tied", "equal", "same", "draw", "both"}
BOTH_BAD = {"tie (bothbad)", "bothbad", "both bad", "both_bad", "neither"}
LEFT_RIGHT = {"left": 0, "right": 1}


@dataclass(frozen=True)
class MappedSheet:
    """The file's rows under the map."""

    sheet: Headed
    columns: Mapping[str, str]  # our field -> the file's title; rank.A -> Answer.rank_A
    batch: Batch

    def cell(self, row: Row, field: str) -> Any:
        return self.sheet.cell(row, self.columns[field]) if field in self.columns else None

    def place(self, row: Row, field: str) -> str:
        return self.sheet.place(row, self.columns.get(field, field))

    def labelled(self, stem: str) -> dict[str, str]:
        """label -> field, of the fields `stem.label`."""
        return {name.partition(".")[2]: name for name in self.columns if name.startswith(f"{stem}.")}


Ranks = dict[str, int]  # by completion id
Layout = Callable[[MappedSheet, Sequence[Row], Task, Answer], tuple[Ranks, Answer]]


def _wide(file: MappedSheet, rows: Sequence[Row], task: Task, answer: Answer) -> tuple[Ranks, Answer]:
    row = rows[0]
    names, shown = _names(file, row, task)
    ranks: Ranks = {}
    for label, field in file.labelled("rank").items():
        rank = rank_of(file.cell(row, field), len(task.ids), file.place(row, field))
        if rank is None:
            continue
        name = names.get(label.casefold())
        if name is None or name in ranks:
            raise DataError(
                f"ranks '{label}', which {'is ranked twice' if name else 'is no completion of the task'}",
                where=file.place(row, field),
                remedy=f"the labels of this task are {', '.join(sorted(names))[:200]}",
            )
        ranks[name] = rank
    return ranks, replace(answer, shown=shown)


def _order(file: MappedSheet, rows: Sequence[Row], task: Task, answer: Answer) -> tuple[Ranks, Answer]:
    names, shown = _names(file, rows[0], task)
    cell = file.cell(rows[0], "ranking")
    ranks = order_of(cell, names, file.place(rows[0], "ranking")) if typed(cell) else {}
    return ranks, replace(answer, shown=shown)


def _winner(file: MappedSheet, rows: Sequence[Row], task: Task, answer: Answer) -> tuple[Ranks, Answer]:
    row = rows[0]
    names, shown = _names(file, row, task)
    said = typed(file.cell(row, "winner")).casefold()
    if len(task.ids) != 2:
        raise DataError(
            f"chooses between two; the task has {len(task.ids)} completions",
            where=file.place(row, "winner"),
            remedy="map rank.{label} or ranking",
        )
    first, second = shown if len(shown) == 2 else task.ids
    names |= {side: (first, second)[position] for side, position in LEFT_RIGHT.items()}
    strength = number_of(file, row, "strength", 3)
    answer = replace(answer, shown=shown, strength=None if strength is None else round(strength))
    if not said:
        return {}, answer
    if said in TIES | BOTH_BAD:
        flags = (*answer.flags, "all_bad") if said in BOTH_BAD else answer.flags
        return {first: 1, second: 1}, replace(answer, flags=tuple(dict.fromkeys(flags)))
    best = names.get(said) or names.get(re.sub(r"^(model|option|response|answer|completion)[ _-]?", "", said))
    if best is None:
        raise DataError(
            f"is {said[:40]!r}; {', '.join(sorted(names))} or tie are allowed",
            where=file.place(row, "winner"),
            remedy="a winner is a label, an id, left or right, or tie",
        )
    return {name: 1 if name == best else 2 for name in task.ids}, answer


def _long(file: MappedSheet, rows: Sequence[Row], task: Task, answer: Answer) -> tuple[Ranks, Answer]:
    ranks: Ranks = {}
    seen: set[str] = set()
    for row in rows:
        name = typed(file.cell(row, "completion_id"))
        if name not in task.ids or name in seen:
            what = "is there twice" if name in seen else "the task does not have"
            raise DataError(
                f"is {name[:40]!r}, which {what}",
                where=file.place(row, "completion_id"),
                remedy=f"the completions of {task.task_id} are {', '.join(task.ids)}",
            )
        seen.add(name)
        rank = rank_of(file.cell(row, "rank"), len(task.ids), file.place(row, "rank"))
        if rank is not None:
            ranks[name] = rank
    return ranks, answer


def _places(file: MappedSheet, row: Row, task: Task) -> tuple[str, ...]:
    """The task's completion ids as the row shows them; DataError for others."""
    labels = file.labelled("id")
    if labels:
        shown = [typed(file.cell(row, field)) for field in labels.values()]
        shown = [name for name in shown if name]
    elif "shown" in file.columns:
        shown = re.findall(r"[\w-]+", typed(file.cell(row, "shown")))
    else:
        return task.ids
    if len(set(shown)) != len(shown) or not set(shown) <= set(task.ids):
        wrong = next((name for name in shown if name not in task.ids), "an id twice")
        raise DataError(
            f"holds {wrong[:40]!r}; the task's completions are {', '.join(task.ids)}",
            where=file.place(row, next(iter(labels.values()), "shown")),
            remedy="the ids of a row's completions are those that were sent out (c_...)",
        )
    return tuple(shown)


def _names(file: MappedSheet, row: Row, task: Task) -> tuple[dict[str, str], tuple[str, ...]]:
    """What a label may be (folded) -> completion id, and the order shown, if the file says it."""
    shown = _places(file, row, task)
    names = {name.casefold(): name for name in task.ids}
    for position, name in enumerate(shown):
        names |= {letter(position).casefold(): name, str(position + 1): name}
    names |= {label.casefold(): typed(file.cell(row, field)) for label, field in file.labelled("id").items()}
    is_said = bool(file.labelled("id")) or "shown" in file.columns
    return {label: name for label, name in names.items() if name}, shown if is_said else ()


def number_of(file: MappedSheet, row: Row, field: str, most: float = math.inf) -> float | None:
    """A number from 0 to `most` in a cell; None where it is empty."""
    text = typed(file.cell(row, field)).replace(",", ".")
    if not text:
        return None
    try:
        number = abs(float(text)) if field == "strength" else float(text)  # its sign repeats who won
    except ValueError:
        number = math.nan
    if not 0 <= number <= most or number == math.inf:
        raise DataError(
            f"is {text[:40]!r}; a number from 0{f' to {most:g}' if most < math.inf else ''} is allowed",
            where=file.place(row, field),
            remedy="mend the cell, or leave the column out of the map",
        )
    return number


LONG = "completion_id and rank"
LAYOUTS: Mapping[str, Layout] = MappingProxyType(  # by the fields that are mapped for it
    {"rank.{label}": _wide, "ranking": _order, "winner": _winner, LONG: _long}
)
