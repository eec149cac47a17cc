"""Table fragments: which columns hold figures, and the text of each cell."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from pipeline.report.text import NOTHING, cell, items, visible

FIGURE = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?(\s?%)?")
INTERVAL = re.compile(rf"({FIGURE.pattern})\s*(\[[^\[\]]*\])")
NO_FIGURES = {NOTHING, "NaN", "∞", "-∞"}


@dataclass(frozen=True)
class Cell:
    """A cell's figure or text, and the interval that stands behind it, which is printed more quietly."""

    text: str
    interval: str = ""

    @property
    def is_figure(self) -> bool:
        return bool(self.interval) or self.text in NO_FIGURES or bool(FIGURE.fullmatch(self.text))


@dataclass(frozen=True)
class Column:
    """A column head; figures are set right."""

    head: str
    is_figure: bool


@dataclass(frozen=True)
class TableView:
    """A `table` fragment as the page shows it."""

    stage: str
    title: str
    note: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


def table(stage: str, fragment: Mapping[str, Any]) -> TableView:
    """A `table` fragment; short rows are filled up, and the first column always reads as a row's name."""
    heads = [str(head) for head in items(fragment.get("columns"))]
    given = [items(row) for row in items(fragment.get("rows"))]
    width = max([len(heads), *map(len, given)])
    heads += [""] * (width - len(heads))
    rows = [[_cell(value) for value in [*row, *[None] * (width - len(row))]] for row in given]
    columns = [
        Column(head, place > 0 and all(row[place].is_figure for row in rows)) for place, head in enumerate(heads)
    ]
    return TableView(stage, str(fragment.get("title", "")), str(fragment.get("note") or ""), columns, rows)


def _cell(value: Any) -> Cell:
    text = cell(value)
    found = INTERVAL.fullmatch(text)
    return Cell(found[1], found[4]) if found else Cell(text)


def breakable(text: str) -> Markup:
    """A name, escaped, that a narrow column may break behind `_` and `/`; several words break between them."""
    shown = str(escape(visible(text)))
    return Markup(shown if " " in shown else re.sub("([_/])(?=.)", r"\1<wbr>", shown))
