"""CSV files: one an annotator, in the long layout, for any spreadsheet program.

UTF-8 with a byte order mark (Excel asks for it), every cell quoted, and a ' in front of a text that a spreadsheet
would take for a formula. What cannot be in a cell is shown by a tag; nothing is cut.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stages.annotation.batch import Batch
from stages.exchange import filled_in
from stages.exchange.cells import guarded, visible
from stages.exchange.sheet import COLUMNS, Line, has_our_columns, lines
from stages.exchange.table import fold, read_tables
from stages.exchange.tools import ExportOptions, ReadOptions, Returned
from stages.exchange.work import file_names, wanted_annotators

NAME = "csv"


def export(batch: Batch, folder: Path, options: ExportOptions) -> Sequence[Path]:
    """A file for each annotator who has tasks left."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {name: list(lines(batch, name, options)) for name in wanted_annotators(batch, options)}
    names = file_names(batch)
    return [_write(folder / f"{names[name]}.csv", own) for name, own in rows.items() if own]


def matches(path: Path, head: Any) -> bool:
    """A first line with our columns, whatever the delimiter."""
    if not isinstance(head, str):
        return False
    return any(has_our_columns([fold(title.strip('"')) for title in head.split(mark)]) for mark in ",;\t")


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The answers in a file that `export` wrote, also after a spreadsheet program saved it in its own way."""
    return filled_in.read(read_tables(path), batch, options, None)


def _write(path: Path, rows: Sequence[Line]) -> Path:
    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    with temporary.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL)
        writer.writerow(COLUMNS)
        writer.writerows([guarded(visible(line.values[column])) for column in COLUMNS] for line in rows)
    temporary.replace(path)
    return path
