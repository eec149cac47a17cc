"""Files -> raw rows with their numbers. Whatever cannot be read is a DataError that names the file and the row."""

from __future__ import annotations

import difflib
import glob
import gzip
import io
import os
import zlib
from pathlib import Path
from typing import NoReturn

from pipeline.errors import DataError, first_line
from stages.formats.text_rows import OnBad, Rows, no_tables, text_rows
from stages.formats.workbook import workbook_rows

TEXT = (".jsonl", ".json", ".csv", ".tsv")
WHOLE = (".txt", ".md")  # the file is one row: its text, and its name as the id
TABLES = (*TEXT, *(f"{suffix}.gz" for suffix in TEXT), ".parquet", ".xlsx")
SUFFIXES = (*TABLES, *WHOLE)


def expand(path: str | Path) -> list[Path]:
    """The files that a path names: the file itself, the data files of a folder, or those of a glob; sorted.

    Texts are a folder's data where it has no tables: beside tables they are its README.
    """
    path = os.path.expanduser(path)
    given = Path(path)
    if given.is_dir():
        known = sorted(p for p in given.iterdir() if p.is_file() and not p.name.startswith(".") and _suffix(p))
        files = [p for p in known if _suffix(p) not in WHOLE] or known
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


def name_in(path: str | Path, file: Path) -> str:
    """A file's name inside the folder, or before the first wildcard of the glob, by which `path` named it."""
    root = Path(os.path.expanduser(path))
    while glob.has_magic(str(root)) and not root.exists():
        root = root.parent
    return file.relative_to(root).as_posix() if root.is_dir() else file.name


def raise_it(error: DataError) -> NoReturn:
    """The strict way to meet a bad row."""
    raise error


def read_rows(path: str | Path, on_bad: OnBad = raise_it, table: str | None = None, name: str | None = None) -> Rows:
    """Each row with its number from 1: the line in JSON lines, the element or the record after the header elsewhere.

    `table` is the sheet of a workbook, or the key of a JSON object that is the whole file. A text file is one row,
    {"id", "text"}, called `name`, or as the file is.

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
        for number, row in _rows(file, suffix, note, table):
            if suffix in WHOLE:
                row = {"id": name or file.name, **row}
            seen = True
            yield number, row
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(
            f"cannot be read ({error})", where=str(path), remedy="check the file, and fetch or write it again"
        ) from error
    if not seen:
        raise DataError("the file has no rows", where=str(path), remedy="fill it, or take it out of the recipe")


def _rows(file: Path, suffix: str, on_bad: OnBad, table: str | None) -> Rows:
    if suffix == ".xlsx":
        return workbook_rows(file, on_bad, table)
    if suffix != ".parquet":
        return _text_rows(file, suffix.removesuffix(".gz"), on_bad, table)
    if table is not None:
        raise no_tables(file, table)
    return _parquet_rows(file)


def _text_rows(file: Path, suffix: str, on_bad: OnBad, table: str | None) -> Rows:
    with gzip.open(file, "rb") if file.suffix.lower() == ".gz" else file.open("rb") as stream:
        yield from text_rows(file, io.BufferedReader(stream), suffix, on_bad, table)


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
    except (pyarrow.ArrowException, ValueError, OverflowError) as error:  # the last two from cells, as Python has them
        raise DataError(
            f"is not a readable Parquet file ({first_line(error)})", where=str(file), remedy="write it again"
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
