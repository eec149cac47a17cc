"""The rows of text files: JSON lines, a JSON array or object, CSV and TSV, and plain text as one row."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from pipeline.errors import DataError, nearest

Rows = Iterator[tuple[int, dict[str, Any]]]
OnBad = Callable[[DataError], None]  # raises, or takes note and lets the reading go on

# A small compressed file can unpack to more than any memory holds.
MAX_LINE, MAX_ARRAY = 16 * 2**20, 1024 * 2**20  # bytes, unpacked
ROWS_KEY = "data"  # of a JSON object that is a whole file: where its rows are, if `table` does not say


def text_rows(file: Path, stream: io.BufferedReader, suffix: str, on_bad: OnBad, table: str | None) -> Rows:
    """The rows of a stream of `file`, of the type that `suffix` names; `table` is a key of a JSON object."""
    start = stream.peek(3)[:3]
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise DataError("is UTF-16 text; UTF-8 is needed", where=str(file), remedy=_UTF8)
    if start == codecs.BOM_UTF8:
        stream.read(3)
    is_json = suffix == ".json"
    if table is not None and not (is_json and _first_byte(stream) == b"{"):
        raise no_tables(file, table)
    if suffix in (".txt", ".md"):
        yield from _whole_text(file, stream, on_bad)
    elif suffix in (".csv", ".tsv"):
        yield from _csv_rows(file, stream, "\t" if suffix == ".tsv" else _delimiter(stream), on_bad)
    elif is_json and _first_byte(stream) == b"[":
        yield from _array_rows(file, stream, on_bad)
    elif is_json and (whole := _single_object(stream)) is not None:
        yield from _object_rows(file, whole, on_bad, table)
    elif table is not None:
        raise no_tables(file, table)
    else:
        yield from _line_rows(file, stream, on_bad)


def no_tables(file: Path, table: str) -> DataError:
    """The error for a `table` of a file that has none."""
    return DataError(
        f"has no tables, and `table` names '{table}'",
        where=str(file),
        remedy="leave out `table`: it is the sheet of a workbook, or the key of one JSON object",
    )


def _whole_text(file: Path, stream: BinaryIO, on_bad: OnBad) -> Rows:
    start = stream.tell()
    data = stream.read(MAX_LINE)
    if len(data) == MAX_LINE:
        raise DataError(
            f"a text of more than {MAX_LINE >> 20} MiB, which would be one row",
            where=str(file),
            remedy="split the file",
        )
    if flaw := _flaw(data, start):
        on_bad(_unreadable(flaw, f"{file}:row 1"))
    elif data:
        yield 1, {"text": data.decode("utf-8")}


def _first_byte(stream: io.BufferedReader) -> bytes:
    return stream.peek(4096).lstrip()[:1]


def _line_rows(file: Path, stream: BinaryIO, on_bad: OnBad) -> Rows:
    for number, (text, flaw) in enumerate(_lines(file, stream), start=1):
        where = f"{file}:row {number}"
        if flaw:
            on_bad(_unreadable(flaw, where))
        elif text.strip():
            try:
                row = json.loads(text.rstrip())
            except (ValueError, RecursionError) as error:
                on_bad(DataError(f"is not JSON ({error})", where=where, remedy="mend the line: one JSON object a line"))
                continue
            yield from _objects(file, [(number, row)], on_bad)


def _array_rows(file: Path, stream: BinaryIO, on_bad: OnBad) -> Rows:
    start = stream.tell()
    data = stream.read(MAX_ARRAY)
    if len(data) == MAX_ARRAY:
        raise DataError(
            f"an array of more than {MAX_ARRAY >> 20} MiB, which would be read at once",
            where=str(file),
            remedy="write one JSON object a line (.jsonl)",
        )
    flaw = _flaw(data, start)
    if flaw:
        raise _unreadable(flaw, str(file))
    try:
        rows = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"is not JSON ({error})",
            where=str(file),
            remedy="mend it: a .json file holds an array of objects, or one object a line",
        ) from error
    yield from _objects(file, enumerate(rows, start=1), on_bad)


def _single_object(stream: BinaryIO) -> dict[str, Any] | None:
    """The object that is the whole file, on one line or over many; None, with nothing read, for JSON lines."""
    start = stream.tell()
    try:
        first = stream.readline(MAX_LINE)
        if _object(first) is not None and any(line.strip() for line in iter(lambda: stream.readline(MAX_LINE), b"")):
            return None
        stream.seek(start)
        return _object(stream.read(MAX_ARRAY))  # one of more than that is cut, and so none
    finally:
        stream.seek(start)


def _object(data: bytes) -> dict[str, Any] | None:
    if b"\x00" in data:
        return None
    try:
        held = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return held if isinstance(held, dict) else None


def _object_rows(file: Path, whole: dict[str, Any], on_bad: OnBad, table: str | None) -> Rows:
    """The rows under `table`, or under "data" where that holds objects; otherwise the object is the one row."""
    lists = [key for key, value in whole.items() if isinstance(value, list)]
    if table is None:
        rows = whole.get(ROWS_KEY)
        if not (isinstance(rows, list) and rows and isinstance(rows[0], dict)):
            yield 1, whole
            return
        table = ROWS_KEY
    if table not in lists:
        raise DataError(
            f"has no list '{table}', which `table` names; it has {', '.join(lists) or 'none'}",
            where=str(file),
            remedy=nearest(table, lists),
        )
    rows = (_by_column(row) for row in whole[table])
    yield from _objects(file, enumerate(rows, start=1), on_bad)


def _by_column(row: Any) -> Any:
    """A row given as a list of cells, under the names column1, column2, ..., which `map` can name."""
    return {f"column{i}": cell for i, cell in enumerate(row, start=1)} if isinstance(row, list) and row else row


def _objects(file: Path, rows: Any, on_bad: OnBad) -> Rows:
    for number, row in rows:
        if isinstance(row, dict):
            yield number, row
        else:
            on_bad(
                DataError(
                    f"is {json.dumps(row)[:60]}; a JSON object is needed",
                    where=f"{file}:row {number}",
                    remedy='write {"key": value, ...}',
                )
            )


def _delimiter(stream: io.BufferedReader) -> str:
    """A comma; a semicolon or a tab where only that one divides the header, as spreadsheets of some countries write."""
    header = stream.peek(4096).split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")
    for delimiter in ",;\t":
        try:
            if len(next(csv.reader([header], delimiter=delimiter, strict=True), [])) > 1:
                return delimiter
        except csv.Error:
            continue
    return ","


def _csv_rows(file: Path, stream: BinaryIO, delimiter: str, on_bad: OnBad) -> Rows:
    records = _csv_records(file, stream, delimiter)
    header, flaw = next(records, ([], None))
    if flaw:
        raise DataError(flaw.problem, where=f"{file}:header", remedy=flaw.remedy)
    check_header(file, header)
    for number, (cells, flaw) in enumerate(records, start=1):
        where = f"{file}:row {number}"
        if flaw:
            on_bad(DataError(flaw.problem, where=where, remedy=flaw.remedy))
        elif len(cells) != len(header):
            on_bad(
                DataError(
                    f"{len(cells)} cells under {len(header)} columns",
                    where=where,
                    remedy="quote cells that hold the delimiter, quotes or line breaks",
                )
            )
        else:
            yield number, dict(zip(header, cells, strict=True))


def _csv_records(file: Path, stream: BinaryIO, delimiter: str) -> Iterator[tuple[list[str], DataError | None]]:
    """Each record's cells, or what is wrong with it; after unpaired quotes the next record begins on the next line."""
    lines, again, taken = _lines(file, stream), deque[tuple[str, str]](), list[tuple[str, str]]()

    def texts() -> Iterator[str]:
        while again or (line := next(lines, None)) is not None:
            taken.append(again.popleft() if again else line)
            yield taken[-1][0]

    while True:
        taken.clear()
        try:
            cells = next(csv.reader(texts(), delimiter=delimiter, strict=True), None)
        except csv.Error as error:
            again.extendleft(reversed(taken[1:]))
            remedy = "double the quotes inside quoted cells, and close each of them"
            yield [], DataError(f"cannot be split into cells ({error})", remedy=remedy)
            continue
        if cells is None:
            return
        flaw = next((flaw for _, flaw in taken if flaw), "")
        if cells or flaw:
            yield cells, _unreadable(flaw, "") if flaw else None


def check_header(file: Path, header: list[str]) -> None:
    """Column names must be present and different."""
    if len(set(header)) < len(header) or "" in header:
        raise DataError(
            f"column names must be present and different; found {', '.join(map(repr, header))}",
            where=f"{file}:header",
            remedy="name each column in the first line",
        )


def _lines(file: Path, stream: BinaryIO) -> Iterator[tuple[str, str]]:
    """Each line as text, and what is wrong with its bytes ("" if nothing). Offsets count from the file's first byte."""
    offset = stream.tell()
    while raw := stream.readline(MAX_LINE):
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise DataError(
                f"a line of more than {MAX_LINE >> 20} MiB at byte {offset}",
                where=str(file),
                remedy="a row has at most 100,000 characters: break the line, or take the file out",
            )
        yield raw.decode("utf-8", "replace"), _flaw(raw, offset)
        offset += len(raw)


def _flaw(raw: bytes, offset: int) -> str:
    if b"\x00" in raw:
        return f"a NUL byte at byte {offset + raw.index(0)}, as in UTF-16 or in a file that is no text"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        found = f"not UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02x})"
        meant = raw[error.start : error.start + 1].decode("cp1252", "ignore")
        return f"{found}; in Windows-1252 that is {meant}" if meant else found
    return ""


_UTF8 = "save the file as UTF-8 text (in Excel: CSV UTF-8)"


def _unreadable(flaw: str, where: str) -> DataError:
    return DataError(flaw, where=where, remedy=_UTF8)
