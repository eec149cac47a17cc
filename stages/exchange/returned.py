"""A returned file as text, JSON, JSON lines or rows of a CSV file; each fault names the file, the line and the byte."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from stages.exchange.table import decoded, read_bytes

AGAIN = "export it again from the tool, and send the file as it is"
LONGEST_CELL = 2**30  # characters; the csv module's own limit is shorter than a task of long texts


def read_text(path: Path) -> str:
    """The file as text, without a mark at its beginning; in the encodings in which a spreadsheet saves it, too."""
    return decoded(path, read_bytes(path))[0]


def note_on(path: Path) -> list[str]:
    """What is to be said of the file's encoding, if anything."""
    note = decoded(path, read_bytes(path))[1]
    return [note] if note else []


def digest(path: Path) -> str:
    """What `source.file_sha256` holds."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def read_json(path: Path) -> Any:
    """The file's one JSON value."""
    return parsed(read_text(path), str(path), first_line=1)


def read_lines(path: Path) -> list[tuple[int, Any]]:
    """(line number, value) of each line that is not blank in a JSONL file."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(number, parsed(line, str(path), first_line=number)) for number, line in lines if line.strip()]


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(row number, cells by column) of a CSV file; the header is row 1."""
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"is no CSV file, or a torn one ({error})", where=str(path), remedy=AGAIN) from error
    finally:
        csv.field_size_limit(before)
    if not rows:
        raise DataError("is empty", where=str(path), remedy=AGAIN)
    header, found = rows[0], []
    for number, cells in enumerate(rows[1:], start=2):
        if cells and len(cells) != len(header):
            raise DataError(
                f"has {len(cells)} cells; the header has {len(header)}", where=f"{path}:row {number}", remedy=AGAIN
            )
        if cells:
            found.append((number, dict(zip(header, cells, strict=True))))
    return found


def parsed(text: str, where: str, *, first_line: int) -> Any:
    """The JSON value in `text`, which begins at line `first_line` of its file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        byte = len(text[: error.pos].encode("utf-8", "surrogatepass"))
        place = f"line {first_line + error.lineno - 1}, byte {byte}" + (" of the line" if first_line > 1 else "")
        raise DataError(f"is no JSON, or is torn, at {place} ({error.msg})", where=where, remedy=AGAIN) from error
    except (RecursionError, ValueError) as error:  # nested too deeply, or a number of thousands of digits
        raise DataError(f"is JSON that cannot be read ({error})", where=where, remedy=AGAIN) from error


def number(value: Any) -> float | None:
    """A finite number, also one that a CSV cell holds as text; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def seconds(value: Any) -> float | None:
    """A duration, if it is one."""
    found = number(value)
    return found if found is not None and found >= 0 else None


def name_of(value: Any) -> str | None:
    """A name or a number that names something, as trimmed text; None for anything else and for blanks."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    try:
        return str(value).strip() or None
    except ValueError:  # an integer of thousands of digits
        return None
