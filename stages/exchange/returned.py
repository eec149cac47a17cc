"""A returned file as text, JSON, JSON lines or rows of a CSV file; each fault names the file, the line and the byte."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.errors import DataError

AGAIN = "export it again from the tool, and send the file as it is"
LONGEST_CELL = 2**30  # characters; the csv module's own limit is shorter than a task of long texts


def read_text(path: Path) -> str:
    """The file as text, without the mark that some programs put before UTF-8."""
    data = read_bytes(path)
    if (at := data.find(0)) >= 0:
        raise DataError(f"has a NUL at {_place(data, at)}; text is needed", where=str(path), remedy=AGAIN)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 at {_place(data, error.start)}", where=str(path), remedy=AGAIN) from error


def read_bytes(path: Path) -> bytes:
    """The file's bytes; DataError where there are none."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=str(path), remedy="check the path") from error
    if not data.strip():
        raise DataError("is empty", where=str(path), remedy=AGAIN)
    return data


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


def moment(value: Any) -> str | None:
    """A tool's time, text or seconds since 1970, as ISO 8601 in UTC with microseconds, so that text sorts as time."""
    try:
        if isinstance(value, str):
            at = datetime.fromisoformat(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            at = datetime.fromtimestamp(value, UTC)
        else:
            return None
        at = at.replace(tzinfo=at.tzinfo or UTC).astimezone(UTC)
        return at.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    except (ValueError, OverflowError, OSError):
        return None


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


def _place(data: bytes, at: int) -> str:
    return f"line {data.count(10, 0, at) + 1}, byte {at}"
