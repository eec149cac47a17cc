"""Files -> raw rows with their numbers. Whatever cannot be read is a DataError that names the file and the row."""

from __future__ import annotations

import codecs
import csv
import difflib
import glob
import gzip
import io
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from pipeline.errors import DataError

Rows = Iterator[tuple[int, dict[str, Any]]]
OnBad = Callable[[DataError], None]  # raises, or takes note and lets the reading go on

TEXT = (".jsonl", ".json", ".csv", ".tsv")
# A small compressed file can unpack to more than any memory holds.
MAX_LINE, MAX_ARRAY = 16 * 2**20, 1024 * 2**20  # bytes, unpacked
SUFFIXES = (*TEXT, *(f"{suffix}.gz" for suffix in TEXT), ".parquet")


def expand(path: str | Path) -> list[Path]:
    """The files that a path names: the file itself, the data files of a folder, or those of a glob; sorted."""
    path = os.path.expanduser(path)
    given = Path(path)
    if given.is_dir():
        files = sorted(p for p in given.iterdir() if p.is_file() and not p.name.startswith(".") and _suffix(p))
        if not files:
            raise DataError("the folder holds no data file", where=str(path), remedy=f"known are {', '.join(SUFFIXES)}")
        return files
    if given.is_file():
        return [given]
    if glob.has_magic(str(path)):
        files = sorted(Path(p) for p in glob.glob(str(path), recursive=True) if Path(p).is_file())
        if files:
            return files
        raise DataError(
            "no file matches", where=str(path), remedy="check the pattern; paths are relative to the working directory"
        )
    raise DataError("no such file or folder", where=str(path), remedy=_nearest_file(given))


def raise_it(error: DataError) -> NoReturn:
    """The strict way to meet a bad row."""
    raise error


def read_rows(path: str | Path, on_bad: OnBad = raise_it) -> Rows:
    """Each row with its number from 1: the line in JSON lines, the element or the record after the header elsewhere.

    Bad rows go to `on_bad`, which by default raises; with one that returns, the rows after them are still read.
    A file that cannot be read at all, or has no row, is a DataError either way. Empty lines are no rows.
    """
    file, suffix = Path(path), _suffix(Path(path))
    if not file.is_file():
        raise DataError("no such file", where=str(path), remedy=_nearest_file(file))
    if not suffix:
        raise DataError(
            f"unknown file type '{file.suffix}'; known are {', '.join(SUFFIXES)}",
            where=str(path),
            remedy="convert the file, JSON lines is the simplest",
        )
    seen = False

    def note(error: DataError) -> None:
        nonlocal seen
        seen = True
        on_bad(error)

    try:
        rows = _parquet_rows(file) if suffix == ".parquet" else _text_rows(file, suffix.removesuffix(".gz"), note)
        for number, row in rows:
            seen = True
            yield number, row
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"cannot be read ({error})", where=str(path), remedy="check the file, and fetch or write it again"
        ) from error
    if not seen:
        raise DataError("the file has no rows", where=str(path), remedy="fill it, or take it out of the recipe")


def _text_rows(file: Path, suffix: str, on_bad: OnBad) -> Rows:
    with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
        buffered = io.BufferedReader(stream)
        if buffered.peek(3)[:3] == codecs.BOM_UTF8:
            buffered.read(3)
        if suffix in (".csv", ".tsv"):
            yield from _csv_rows(file, buffered, "\t" if suffix == ".tsv" else ",", on_bad)
        elif suffix == ".json" and buffered.peek(4096).lstrip()[:1] == b"[":
            yield from _array_rows(file, buffered, on_bad)
        else:
            yield from _line_rows(file, buffered, on_bad)


def _line_rows(file: Path, stream: BinaryIO, on_bad: OnBad) -> Rows:
    for number, (text, flaw) in enumerate(_lines(stream), start=1):
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


def _csv_rows(file: Path, stream: BinaryIO, delimiter: str, on_bad: OnBad) -> Rows:
    flaws: list[str] = []  # of the lines that the record at hand was read from

    def lines() -> Iterator[str]:
        for text, flaw in _lines(stream):
            flaws.extend([flaw] if flaw else [])
            yield text

    reader = csv.reader(lines(), delimiter=delimiter, strict=True)
    number = 0
    try:
        header = next(reader, [])
        if flaws:
            raise _unreadable(flaws[0], f"{file}:header")
        if len(set(header)) < len(header) or "" in header:
            raise DataError(
                f"column names must be present and different; found {', '.join(map(repr, header))}",
                where=f"{file}:header",
                remedy="name each column in the first line",
            )
        for cells in reader:
            if not cells:
                continue
            number += 1
            where = f"{file}:row {number}"
            if flaws:
                on_bad(_unreadable(flaws[0], where))
                flaws.clear()
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
    except csv.Error as error:
        raise DataError(
            f"cannot be split into cells ({error})",
            where=f"{file}:row {number + 1}",
            remedy="double the quotes inside quoted cells, and close each of them",
        ) from error


def _lines(stream: BinaryIO) -> Iterator[tuple[str, str]]:
    """Each line as text, and what is wrong with its bytes ("" if nothing). Offsets count from the file's first byte."""
    offset = stream.tell()
    while raw := stream.readline(MAX_LINE):
        if len(raw) == MAX_LINE and not raw.endswith(b"\n"):
            raise DataError(
                f"a line of more than {MAX_LINE >> 20} MiB at byte {offset}",
                where=str(stream.name),
                remedy="a row has at most 100,000 characters: break the line, or take the file out",
            )
        yield raw.decode("utf-8", "replace"), _flaw(raw, offset)
        offset += len(raw)


def _flaw(raw: bytes, offset: int) -> str:
    if b"\x00" in raw:
        return f"a NUL byte at byte {offset + raw.index(0)}"
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 at byte {offset + error.start} (0x{raw[error.start]:02x})"
    return ""


def _unreadable(flaw: str, where: str) -> DataError:
    return DataError(flaw, where=where, remedy="save the file as UTF-8 text")


def _parquet_rows(file: Path) -> Rows:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            for batch in table.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except pyarrow.ArrowException as error:
        raise DataError(
            f"is not a readable Parquet file ({error})", where=str(file), remedy="write it again"
        ) from error


def _suffix(file: Path) -> str:
    name = file.name.lower()
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), "")


def _nearest_file(path: Path) -> str:
    """The entry of the nearest folder that exists whose name is closest to what was asked for."""
    folder, name = path.parent, path.name
    while not folder.is_dir():
        folder, name = folder.parent, folder.name
    close = difflib.get_close_matches(name, [p.name for p in folder.iterdir()], n=1, cutoff=0.5)
    return f"did you mean '{folder / close[0]}'?" if close else "check the path, relative to the working directory"
