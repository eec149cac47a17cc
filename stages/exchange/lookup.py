"""Which tool's file this is: told by its content, or named."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.errors import DataError, nearest
from stages.exchange.table import ZIP, decoded, not_text, read_bytes
from stages.exchange.tools import EXPORTS, READERS, Export, Tool


def exporter(name: str) -> Export:
    """The export called `name`; DataError with the nearest one otherwise."""
    if name not in EXPORTS:
        raise DataError(f"there is no export '{name}'", where="--to", remedy=nearest(name, EXPORTS))
    module, _, function = EXPORTS[name].partition(":")
    found: Export = getattr(import_module(module), function)
    return found


def reader(name: str) -> Tool:
    """The reader called `name`; DataError with the nearest one otherwise."""
    if name not in READERS:
        raise DataError(f"there is no reader '{name}'", where="--from", remedy=nearest(name, READERS))
    found: Tool = import_module(READERS[name])  # type: ignore[assignment]
    return found


def reader_of(path: Path, name: str | None, columns: Mapping[str, str]) -> tuple[str, Tool]:
    """The reader for a file: the one named, the mapped one where columns are, else the one that knows the content.

    DataError for a file that cannot be told, with line and byte for JSON that is torn.
    """
    if name or columns:
        chosen = name or "mapped"
        return chosen, reader(chosen)
    head = head_of(path)
    found = [(known, reader(known)) for known in READERS]
    fitting = [(known, tool) for known, tool in found if tool.matches(path, head)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(known for known, _ in fitting)
        raise DataError(f"may be of {names}", where=str(path), remedy="name the tool with --from")
    raise DataError(
        f"is of no tool that is known ({', '.join(READERS)})",
        where=str(path),
        remedy="name the tool with --from; for a CSV file or workbook of another layout, its columns with --map",
    )


def head_of(path: Path) -> Any:
    """The content of a JSON file, else the first line; DataError with line and byte for JSON that is torn."""
    data = read_bytes(path)
    if data.startswith(ZIP):
        return data[:200].split(b"\n")[0].decode("latin-1")
    text, _ = decoded(path, data)
    start = text.lstrip()
    first = start.splitlines()[0] if start else ""
    if not first.startswith(("{", "[")):
        return first
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError("nests too deep for JSON", where=str(path), remedy="ask for the file again") from error
    except ValueError as error:
        return first if _is_json(first) else _torn(path, data, text, error)


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except (ValueError, RecursionError):
        return False


def _torn(path: Path, data: bytes, text: str, error: ValueError) -> Any:
    at = len(text[: getattr(error, "pos", 0)].encode("utf-8", "surrogatepass")) + 3 * data.startswith(b"\xef\xbb\xbf")
    what = f"JSON ends or breaks ({getattr(error, 'msg', error)})"
    raise not_text(path, data, min(at, len(data)), what) from error
