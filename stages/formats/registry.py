"""The formats by name, and which of them rows are in. A new format is one module and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from pipeline.errors import DataError, nearest
from stages.formats import (
    alpaca,
    answers,
    arena,
    documents,
    extraction,
    helpsteer,
    hh,
    judged,
    kto,
    labelled,
    llmbar,
    messages,
    nectar,
    oasst,
    pairs,
    pandalm,
    prompt_completion,
    prompts,
    question_answer,
    ranked,
    self_instruct,
    sharegpt,
    solutions,
    squad,
    squad_paragraphs,
    squad_questions,
    summarize_feedback,
    text,
    webgpt,
)
from stages.formats.records import Record
from stages.formats.refusals import why


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

    def convert(self, row: Mapping[str, Any]) -> Record | tuple[Record, ...]:
        """The row's record, or its records (never none) where a row holds several; DataError with the field as `where`.

        `records` below is how to call it.
        """


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "messages": messages,
        "sharegpt": sharegpt,
        "alpaca": alpaca,
        "self_instruct": self_instruct,
        "prompt_completion": prompt_completion,
        "question_answer": question_answer,
        "answers": answers,
        "squad": squad,
        "squad_questions": squad_questions,
        "squad_paragraphs": squad_paragraphs,
        "labelled": labelled,
        "extraction": extraction,
        "pairs": pairs,
        "hh": hh,
        "kto": kto,
        "ranked": ranked,
        "nectar": nectar,
        "oasst": oasst,
        "summarize_feedback": summarize_feedback,
        "webgpt": webgpt,
        "helpsteer": helpsteer,
        "arena": arena,
        "pandalm": pandalm,
        "llmbar": llmbar,
        "judged": judged,
        "solutions": solutions,
        "prompts": prompts,
        "text": text,
        "documents": documents,
    }
)


def named(name: str) -> Format:
    """The format called `name`; DataError with the nearest one otherwise."""
    if name not in FORMATS:
        raise DataError(f"unknown format '{name}'", where="format", remedy=nearest(name, FORMATS))
    return FORMATS[name]


def records(name: str, row: Mapping[str, Any]) -> tuple[Record, ...]:
    """The records of a row in the format called `name`, one or several; DataError with the field as `where`."""
    try:
        made = named(name).convert(row)
    except RecursionError as error:
        raise DataError(
            "is nested too deeply", where="row", remedy="mend the row: a format has a few levels at most"
        ) from error
    return made if isinstance(made, tuple) else (made,)


def candidates(row: Mapping[str, Any]) -> list[str]:
    """The formats whose keys the row has."""
    return [name for name, module in FORMATS.items() if module.matches(row)]


def find(rows: Sequence[Mapping[str, Any]]) -> str:
    """The one format that all these rows are in; DataError with the keys found and the formats known otherwise."""
    found = [candidates(row) for row in rows]
    for position, (row, names) in enumerate(zip(rows, found, strict=True), start=1):
        refusal = None if names else why(row)
        if refusal:
            raise DataError(refusal.problem, remedy=refusal.remedy)
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
