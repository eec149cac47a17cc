"""The rows of a spreadsheet (XLSX): a sheet whose first row names the columns. Formulas give the values last saved."""

from __future__ import annotations

import datetime
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import DataError, first_line, nearest
from stages.formats.text_rows import OnBad, Rows, check_header

if TYPE_CHECKING:
    from openpyxl.worksheet._read_only import ReadOnlyWorksheet

MAX_UNPACKED = 512 * 2**20  # bytes of all parts: a workbook is a zip archive, and its texts are held at once
MAX_COLUMNS = 1000
MAX_WHOLE = 10**15  # a sheet's numbers are floats: above it not every whole number can be told


def workbook_rows(file: Path, on_bad: OnBad, table: str | None) -> Rows:
    """The rows of the sheet called `table`, or of the only sheet that has cells; rows without a cell are no rows."""
    _check_size(file)
    import openpyxl

    try:
        with warnings.catch_warnings():  # on styles and rules that are not read
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            try:
                yield from _sheet_rows(file, _sheet(file, book.worksheets, table), on_bad)
            finally:
                book.close()
    except DataError:
        raise
    except Exception as error:  # the library's errors on broken files have no common base
        if isinstance(error, OSError) and error.errno:
            raise  # the system's, which `read_rows` names
        raise DataError(
            f"is not a readable XLSX file ({type(error).__name__}: {first_line(error)})",
            where=str(file),
            remedy="open it in a spreadsheet and save it again, or save it as CSV UTF-8",
        ) from error


def _check_size(file: Path) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(part.file_size for part in archive.infolist())
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(
            f"is not a readable XLSX file ({error})",
            where=str(file),
            remedy="save it as .xlsx, without a password (an .xls or an encrypted file only bears the name)",
        ) from error
    if size > MAX_UNPACKED:
        raise DataError(
            f"unpacks to {size >> 20:,} MiB; at most {MAX_UNPACKED >> 20} MiB are read",
            where=str(file),
            remedy="save it as CSV UTF-8",
        )


def _sheet(file: Path, sheets: list[ReadOnlyWorksheet], table: str | None) -> ReadOnlyWorksheet:
    names = [sheet.title for sheet in sheets]
    if table is not None:
        found = next((sheet for sheet in sheets if sheet.title == table), None)
        if found is None:
            raise DataError(
                f"has no sheet '{table}', which `table` names; it has {', '.join(names)}",
                where=str(file),
                remedy=nearest(table, names),
            )
        return found
    filled = [sheet for sheet in sheets if next(_cells(sheet), None)]
    if len(filled) > 1:
        raise DataError(
            f"has several sheets with rows: {', '.join(sheet.title for sheet in filled)}",
            where=str(file),
            remedy=f"name one, as in `table: {filled[0].title}`",
        )
    if not filled:
        raise DataError("the file has no rows", where=str(file), remedy="fill it, or take it out of the recipe")
    return filled[0]


def _cells(sheet: ReadOnlyWorksheet) -> Iterator[tuple[int, list[Any]]]:
    """The rows that have a cell, each with its line in the sheet; the size that a file claims is not believed."""
    sheet.reset_dimensions()
    for line, cells in enumerate(sheet.iter_rows(), start=1):
        last = max((i for i, cell in enumerate(cells, start=1) if cell.value not in (None, "")), default=0)
        if last:
            yield line, list(cells[:last])


def _sheet_rows(file: Path, sheet: ReadOnlyWorksheet, on_bad: OnBad) -> Rows:
    rows = _cells(sheet)
    top, first = next(rows, (1, []))
    header = ["" if cell.value is None else str(cell.value).strip() for cell in first[: MAX_COLUMNS + 1]]
    if len(header) > MAX_COLUMNS:
        raise DataError(f"more than {MAX_COLUMNS} columns", where=f"{file}:header", remedy="keep those that are used")
    check_header(file, header)
    for line, cells in rows:
        where = f"{file}:row {line - top}"
        broken = next((cell for cell in cells if cell.data_type == "e"), None)
        if len(cells) > len(header):
            on_bad(
                DataError(
                    f"{len(cells)} cells under {len(header)} columns",
                    where=where,
                    remedy="name the column, or empty it",
                )
            )
        elif broken is not None:
            on_bad(
                DataError(
                    f"cell {broken.coordinate} holds the error {broken.value}", where=where, remedy="mend the formula"
                )
            )
        else:
            values = [_value(cell.value) for cell in cells]
            yield line - top, dict(zip(header, values + [None] * (len(header) - len(values)), strict=True))


def _value(value: Any) -> Any:
    """Dates as ISO 8601 text and numbers as text, as a CSV holds them; all else as the sheet has it."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return value
    return str(int(value)) if float(value).is_integer() and abs(value) < MAX_WHOLE else str(value)
