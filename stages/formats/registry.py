"""The formats by name, and which of them rows are in. A new format is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pipeline.errors import DataError, nearest
from stages.formats import alpaca, hh, kto, messages, nectar, pairs, prompt_completion, prompts, ranked, sharegpt, text
from stages.formats.records import Record


class Format(Protocol):
    """What a format's module offers: `KINDS` are the record kinds it gives, `KEYS` says its columns in words."""

    @property
    def NAME(self) -> str: ...

    @property
    def KINDS(self) -> tuple[str, ...]: ...

    @property
    def KEYS(self) -> str: ...

    def matches(self, row: Mapping[str, Any]) -> bool:
        """Whether the row's keys look like this format."""

    def convert(self, row: Mapping[str, Any]) -> Record:
        """The row's record, or DataError with the field as `where`."""


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "messages": messages,
        "sharegpt": sharegpt,
        "alpaca": alpaca,
        "prompt_completion": prompt_completion,
        "pairs": pairs,
        "hh": hh,
        "kto": kto,
        "ranked": ranked,
        "nectar": nectar,
        "prompts": prompts,
        "text": text,
    }
)


def named(name: str) -> Format:
    """The format called `name`; DataError with the nearest one otherwise."""
    if name not in FORMATS:
        raise DataError(f"unknown format '{name}'", where="format", remedy=nearest(name, FORMATS))
    return FORMATS[name]


def candidates(row: Mapping[str, Any]) -> list[str]:
    """The formats whose keys the row has."""
    return [name for name, module in FORMATS.items() if module.matches(row)]


def find(rows: Sequence[Mapping[str, Any]]) -> str:
    """The one format that all these rows are in; DataError with the keys found and the formats known otherwise."""
    found = [candidates(row) for row in rows]
    for position, (row, names) in enumerate(zip(rows, found, strict=True), start=1):
        if len(names) != 1:
            what = f"fit several formats ({', '.join(names)})" if names else "fit no known format"
            raise _unclear(f"the keys {_keys(row)} {what}", position)
        if names != found[0]:
            here, before = f"'{names[0]}' (keys {_keys(row)})", f"'{found[0][0]}' (keys {_keys(rows[0])})"
            raise _unclear(f"looks like {here}, the rows before it like {before}", position)
    if not found:
        raise DataError("no row to tell the format by", remedy="add rows")
    return found[0][0]


def _unclear(problem: str, position: int) -> DataError:
    known = "\n".join(f"     {name}: {module.KEYS}" for name, module in FORMATS.items())
    return DataError(
        f"row {position} of those that can be read: {problem}" if position > 1 else problem,
        remedy=f"mend the row, name the format under `format`, or the columns under `map`; known formats:\n{known}",
    )


def _keys(row: Mapping[str, Any]) -> str:
    return ", ".join(map(str, row)) or "(none)"
