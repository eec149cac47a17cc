"""Workbooks: one an annotator, in the long layout, with ranks checked as they are typed.

Text is only ever written as text: no formula, link or number is made of it. A text longer than a cell holds is
refused, or cut with a note. The library is xlsxwriter for writing, since openpyxl makes a formula of "=1+1" and stops
at control characters, and openpyxl for reading.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.exchange import filled_in
from stages.exchange.cells import CELL_LIMIT, FLAG_WORDS, cut, typed, units, visible
from stages.exchange.sheet import COLUMNS, FILLED_IN, HOW_TO, Line, lines
from stages.exchange.table import META, ZIP, Table, read_tables
from stages.exchange.tools import ExportOptions, ReadOptions, Returned
from stages.exchange.work import file_names, wanted_annotators

NAME = "xlsx"
SCHEMA = "pref.sheet/1"
WIDTHS = {"prompt": 50, "text": 80, "comment": 30, "flag": 14}  # characters; other columns 9
HIDDEN = COLUMNS[COLUMNS.index("task_id") :]
AS_TEXT = {"strings_to_formulas": False, "strings_to_urls": False, "strings_to_numbers": False}


def export(batch: Batch, folder: Path, options: ExportOptions) -> Sequence[Path]:
    """A workbook for each annotator who has tasks left; DataError for a text longer than a cell, before any is
    written."""
    wanted = {name: list(lines(batch, name, options)) for name in wanted_annotators(batch, options)}
    rows = {name: [_fitting(line, options) for line in own] for name, own in wanted.items() if own}
    folder.mkdir(parents=True, exist_ok=True)
    names = file_names(batch)
    return [_write(folder / f"{names[name]}.xlsx", batch, name, own) for name, own in rows.items()]


def matches(path: Path, head: Any) -> bool:
    """A zip archive: no other tool sends one back."""
    return isinstance(head, str) and head.startswith(ZIP.decode("latin-1"))


def read(path: Path, batch: Batch, options: ReadOptions) -> Returned:
    """The answers in a workbook that `export` wrote, also after it went through another spreadsheet program."""
    tables = read_tables(path)
    meta = _meta(tables)
    for field, expected in (("batch_id", batch.batch_id), ("digest", batch.digest)):
        if meta.get(field, expected) != expected:
            raise filled_in.wrong_batch(meta[field], batch, f"{path}:sheet '{META}'")
    return filled_in.read(tables, batch, options, meta.get("annotator"))


def _meta(tables: Sequence[Table]) -> Mapping[str, str]:
    rows = next((table.rows for table in tables if table.sheet == META), ())
    return {typed(cells[0]): typed(cells[1]) for _, cells in rows if len(cells) > 1}


def _fitting(line: Line, options: ExportOptions) -> Line:
    values = {}
    for column, text in line.values.items():
        text = visible(text)
        if units(text) > CELL_LIMIT:
            if not options.allow_truncated:
                raise DataError(
                    f"the {column} has {units(text):,} characters; a cell of a workbook holds {CELL_LIMIT:,}",
                    where=f"task {line.values['task_id']}",
                    remedy="export to html, which shows texts whole, or cut them with --allow-truncated",
                )
            text = cut(text)
        values[column] = text
    return Line(line.number, line.count, values)


def _write(path: Path, batch: Batch, annotator: str, rows: Sequence[Line]) -> Path:
    import xlsxwriter

    temporary = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    book = xlsxwriter.Workbook(str(temporary), AS_TEXT)
    book.set_properties({"title": visible(batch.title)[:255], "created": datetime(2000, 1, 1)})  # equal exports, bytes
    _instructions(book, batch)
    _tasks(book, rows)
    meta = book.add_worksheet(META)
    for number, pair in enumerate([("schema", SCHEMA), ("batch_id", batch.batch_id), ("digest", batch.digest),
                                   ("annotator", annotator)]):  # fmt: skip
        meta.write_string(number, 0, pair[0])
        meta.write_string(number, 1, visible(pair[1]))
    meta.very_hidden()
    book.close()
    temporary.replace(path)
    return path


def _instructions(book: Any, batch: Batch) -> None:
    sheet = book.add_worksheet("Instructions")
    wrapped, bold = book.add_format({"text_wrap": True, "valign": "top"}), book.add_format({"bold": True})
    sheet.set_column(0, 0, 110)
    sheet.write_string(0, 0, visible(batch.title) or "Ranking answers", bold)
    text = visible(batch.instructions)
    for number, line in enumerate([*text.splitlines(), "", *HOW_TO], start=1):
        sheet.write_string(number, 0, cut(line) if units(line) > CELL_LIMIT else line, wrapped)
    sheet.protect()


def _tasks(book: Any, rows: Sequence[Line]) -> None:
    sheet = book.add_worksheet("Tasks")
    for number, title in enumerate(COLUMNS):
        hidden = {"hidden": True} if title in HIDDEN else {}
        sheet.set_column(number, number, WIDTHS.get(title, 9), None, hidden)
        sheet.write_string(0, number, title, book.add_format({"bold": True, "bottom": 1}))
    looks = [_look(book, bool(band)) for band in (0, 1)]
    for number, line in enumerate(rows, start=1):
        locked, open_ = looks[line.number % 2]
        for column, title in enumerate(COLUMNS):
            _put(sheet, (number, column), line.values[title], open_ if title in FILLED_IN else locked)
    _check_as_typed(sheet, rows)
    sheet.freeze_panes(1, 0)
    sheet.protect("", {"format_cells": True, "format_columns": True, "format_rows": True, "sort": True})
    sheet.activate()


def _look(book: Any, banded: bool) -> tuple[Any, Any]:
    """Formats of a cell to read and of a cell to fill in; every second task has a ground."""
    both = {"text_wrap": True, "valign": "top"} | ({"bg_color": "#F2F2F2"} if banded else {})
    return book.add_format(both), book.add_format({**both, "locked": False, "border": 1, "border_color": "#888888"})


def _put(sheet: Any, at: tuple[int, int], text: str, look: Any) -> None:
    if not text:
        sheet.write_blank(*at, None, look)
    elif sheet.write_string(*at, text, look):
        raise AssertionError(f"xlsxwriter left out the cell {at}")


def _check_as_typed(sheet: Any, rows: Sequence[Line]) -> None:
    """Whole numbers from 1 to K in `rank`, one range for neighbours of one K, and the known words in `flag`."""
    rank, flag = COLUMNS.index("rank"), COLUMNS.index("flag")
    first = 1
    for count, group in groupby(rows, key=lambda line: line.count):
        last = first + len(list(group)) - 1
        rule = {
            "validate": "integer", "criteria": "between", "minimum": 1, "maximum": count, "ignore_blank": True,
            "input_title": "Rank", "input_message": f"1 (best) to {count}; equal numbers = tie; empty: not ranked",
            "error_title": "No rank", "error_message": f"A whole number from 1 to {count}, or nothing.",
        }  # fmt: skip
        sheet.data_validation(first, rank, last, rank, rule)
        first = last + 1
    words = {"validate": "list", "source": list(FLAG_WORDS), "ignore_blank": True, "error_type": "warning"}
    sheet.data_validation(1, flag, max(len(rows), 1), flag, words)
