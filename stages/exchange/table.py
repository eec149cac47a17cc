"""CSV and XLSX files as tables of cells with the row numbers that a spreadsheet shows.

A workbook is read without its formulas (their last values count), and only as far as its bounds: a few kilobytes can
unpack to more than any memory holds.
"""

from __future__ import annotations

import codecs
import csv
import io
import warnings
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, first_line
from stages.exchange.cells import letter, typed

Row = tuple[int, tuple[Any, ...]]  # its number, from 1, and its cells
MAX_ROWS, MAX_COLUMNS, MAX_SHEETS = 1_048_576, 256, 50  # rows: as many as a spreadsheet has
MAX_FILE, MAX_UNPACKED = 256 * 2**20, 256 * 2**20  # bytes
HEADER_WITHIN = 10  # rows: somebody may have put a title above
ZIP, OLD_OR_ENCRYPTED = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
META = "_meta"  # the hidden sheet of our workbooks


@dataclass(frozen=True)
class Table:
    """A CSV file (`sheet` is None) or one sheet of a workbook; empty rows are left out."""

    file: str
    sheet: str | None
    rows: Sequence[Row]
    note: str = ""

    def place(self, row: int, column: int | None = None, title: str = "") -> str:
        """Where a cell is, in the words of a spreadsheet."""
        sheet = f"sheet '{self.sheet}', " if self.sheet is not None else ""
        cell = "" if column is None else f", column {letter(column)} ({title})"
        return f"{self.file}:{sheet}row {row}{cell}"


@dataclass(frozen=True)
class Headed:
    """A table whose columns are known by their titles (folded)."""

    table: Table
    columns: dict[str, int]
    rows: Sequence[Row]

    def cell(self, row: Row, title: str) -> Any:
        """What is in the column of that title; None where the row is too short or there is no such column."""
        column = self.columns.get(fold(title))
        return None if column is None or column >= len(row[1]) else row[1][column]

    def place(self, row: Row, title: str) -> str:
        """Where that cell is."""
        return self.table.place(row[0], self.columns.get(fold(title)), title)


def fold(title: Any) -> str:
    """A column's title in one spelling."""
    return " ".join(typed(title).casefold().split())


def headed(table: Table, needed: Iterable[str]) -> Headed | None:
    """The table under the first row that has all `needed` titles; None where no row near its top has."""
    for place, (number, cells) in enumerate(table.rows[:HEADER_WITHIN]):
        titles = [fold(cell) for cell in cells]
        if {fold(title) for title in needed} <= set(titles):
            for title in {fold(title) for title in needed}:
                if titles.count(title) > 1:
                    raise DataError(
                        f"two columns are called '{title}'",
                        where=table.place(number),
                        remedy="rename or remove one of them",
                    )
            return Headed(table, {title: at for at, title in enumerate(titles) if title}, table.rows[place + 1 :])
    return None


def read_tables(path: Path) -> list[Table]:
    """The tables of a CSV file or a workbook, told apart by content; DataError where it is neither."""
    data = read_bytes(path)
    if data.startswith(OLD_OR_ENCRYPTED):
        raise DataError(
            "is an old .xls file, or protected by a password",
            where=str(path),
            remedy="open it and save it as .xlsx without a password, or as CSV (UTF-8)",
        )
    return _workbook(path, data) if data.startswith(ZIP) else [_csv(path, data)]


def read_bytes(path: Path) -> bytes:
    """The file's content; DataError where there is none, or far more than annotators can have written."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise DataError(f"has more than {MAX_FILE >> 20} MiB", where=str(path), remedy="split it")
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror})", where=str(path), remedy="check the path, relative to where you are"
        ) from error
    if not data.strip():
        raise DataError("is empty", where=str(path), remedy="ask for the file again")
    return data


def decoded(path: Path, data: bytes) -> tuple[str, str]:
    """A text file's content and a note on its encoding; DataError with line and byte where it is no text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    else:
        encoding = "utf-8-sig"
        if (at := data.find(0)) >= 0:
            raise not_text(path, data, at, "a NUL byte")
    try:
        return data.decode(encoding), ""
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise not_text(path, data, error.start, "half a character of UTF-16") from error
    try:
        return data.decode("cp1252"), f"{path.name} is no UTF-8; it was read as Windows-1252 (cp1252)"
    except UnicodeDecodeError as error:
        raise not_text(path, data, error.start, f"0x{data[error.start]:02x}, neither UTF-8 nor Windows-1252") from error


def not_text(path: Path, data: bytes, at: int, what: str) -> DataError:
    """The error of a file with a wrong byte."""
    return DataError(
        f"{what} at line {data.count(bytes([10]), 0, at) + 1}, byte {at}",
        where=str(path),
        remedy="save the file as UTF-8 text, or ask for it again",
    )


def _csv(path: Path, data: bytes) -> Table:
    text, note = decoded(path, data)
    before = csv.field_size_limit(MAX_FILE)
    try:
        rows = _records(path, text, _delimiter(text))
    finally:
        csv.field_size_limit(before)
    return Table(str(path), None, rows, note)


def _delimiter(text: str) -> str:
    """Which of , ; and TAB cuts the top of the file into the most cells."""
    counts = {}
    for delimiter in ",;\t":
        try:
            counts[delimiter] = max(map(len, _top(text, delimiter)), default=0)
        except csv.Error:  # told with its row when the whole file is read
            counts[delimiter] = 0
    return max(counts, key=lambda delimiter: counts[delimiter])


def _top(text: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    return [row for row, _ in zip(reader, range(2), strict=False)]


def _records(path: Path, text: str, delimiter: str) -> list[Row]:
    # strict: a quote that is never closed would swallow all rows after it
    rows, number = [], 0
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for number, cells in enumerate(reader, start=1):
            if number > MAX_ROWS:
                raise _too_large(path, f"more than {MAX_ROWS:,} rows")
            if any(cell.strip() for cell in cells):
                rows.append((number, tuple(cells)))
    except csv.Error as error:
        raise DataError(
            f"cannot be split into cells ({error}), at line {reader.line_num}",
            where=f"{path}:row {number + 1}",
            remedy="double the quotes inside quoted cells, and close each of them",
        ) from error
    return rows


def _workbook(path: Path, data: bytes) -> list[Table]:
    from openpyxl import load_workbook

    _check_size(path, data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of features that it does not keep, and we do not need
            book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
            if len(book.worksheets) > MAX_SHEETS:
                raise _too_large(path, f"more than {MAX_SHEETS} sheets")
            return [Table(str(path), sheet.title, _cells(path, sheet)) for sheet in book.worksheets]
    except DataError:
        raise
    except Exception as error:  # a damaged workbook meets openpyxl in dozens of ways, with as many kinds of exception
        raise DataError(
            f"is not a readable workbook ({type(error).__name__}: {first_line(error)})",
            where=str(path),
            remedy="open it in a spreadsheet, save it as .xlsx or CSV (UTF-8), and import that",
        ) from error


def _cells(path: Path, sheet: Any) -> list[Row]:
    sheet.reset_dimensions()  # a size that some programs write is wrong, and would hide rows
    rows = []
    for number, cells in enumerate(sheet.iter_rows(max_col=MAX_COLUMNS, values_only=True), start=1):
        if number > MAX_ROWS:
            raise _too_large(path, f"more than {MAX_ROWS:,} rows in sheet '{sheet.title}'")
        if cells.count(None) == len(cells):  # a program may write a million empty rows for a column's colour
            continue
        last = max((at for at, cell in enumerate(cells) if cell is not None and typed(cell)), default=-1)
        if last >= 0:
            rows.append((number, tuple(cells[: last + 1])))
    return rows


def _check_size(path: Path, data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())  # zipfile reads no more than is declared
    except (zipfile.BadZipFile, ValueError, OSError, EOFError, NotImplementedError, IndexError) as error:
        raise DataError(
            f"is a torn or damaged workbook ({error})", where=str(path), remedy="ask for the file again"
        ) from error
    if size > MAX_UNPACKED:
        raise _too_large(path, f"{size >> 20:,} MiB unpacked; {MAX_UNPACKED >> 20} MiB are allowed")


def _too_large(path: Path, what: str) -> DataError:
    return DataError(f"has {what}", where=str(path), remedy="this is more than people write: ask where it comes from")
