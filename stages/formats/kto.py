"""Unpaired feedback: {"prompt", "completion", "desirable" or "label"} or {"messages", "label"}; true is a thumb up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.messages import is_labelled
from stages.formats.records import Unpaired, row_id

NAME, KINDS = "kto", ("unpaired",)
KEYS = "prompt and completion, or messages or conversations; label or desirable, true or false"


def matches(row: Mapping[str, Any]) -> bool:
    """A labelled conversation or completion."""
    return is_labelled(row) and (
        "messages" in row or "conversations" in row or ("prompt" in row and "completion" in row)
    )


def convert(row: Mapping[str, Any]) -> Unpaired:
    """The last answer and what was thought of it."""
    field = next((name for name in ("messages", "conversations") if name in row), None)
    if field:
        *before, last = turns.read_messages(row[field], field)
        completion = turns.read_completion(last, field)
        prompt = rules.open_prompt(before, field) if before else ()
    else:
        prompt = rules.open_prompt(turns.read_prompt(rules.need(row, "prompt")))
        completion = turns.read_completion(rules.need(row, "completion"), "completion")
    if not prompt:
        raise DataError(
            "no turn before the answer; the user's is needed", where=field or "prompt", remedy="add the prompt"
        )
    desirable = _flag(row)
    return Unpaired(
        row_id(row, {"prompt": prompt, "completion": completion, "desirable": desirable}), prompt, completion, desirable
    )


def _flag(row: Mapping[str, Any]) -> bool:
    field = "desirable" if "desirable" in row else "label"
    value = rules.need(row, field)
    written = {"true": True, "false": False}.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(written, bool):
        raise DataError(
            f"is {rules.describe(value)}; true or false is allowed", where=field, remedy="write true for a good answer"
        )
    return written
