"""Text to a JSON object: {"text", "intent", "slots"} (one intent) or {"text", "intents", "slots"} (several).

The answer is the object as JSON with the keys in that order; of several intents or of slots, none may be given.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules
from stages.formats.records import Instruction

NAME, KINDS = "extraction", ("instruction",)
KEYS = "text; intent and slots, or intents and slots"


def matches(row: Mapping[str, Any]) -> bool:
    """A text and what is to be found in it."""
    return "text" in row and any(key in row for key in ("intent", "intents", "slots"))


def convert(row: Mapping[str, Any]) -> Instruction:
    """The text's turn and the object's."""
    asked = {"role": "user", "content": rules.filled(rules.need(row, "text"), "text")}
    slots = _object(row.get("slots"), "slots")
    found: dict[str, Any] = {"intents": rules.listed(_given(row.get("intents"), []), "intents"), "slots": slots}
    if "intent" in row:
        found = {"intent": rules.filled(row["intent"], "intent"), "slots": slots}
    answer = rules.text(json.dumps(found, ensure_ascii=False), "slots")
    return rules.instruction(row, [asked, {"role": "assistant", "content": answer}])


def _given(value: Any, empty: Any) -> Any:
    return empty if value is None or value == "" else value


def _object(value: Any, field: str) -> dict[str, Any]:
    """A JSON object, also one written as text."""
    held = rules.parsed(_given(value, {}), field)
    if not isinstance(held, dict):
        raise DataError(f"is {rules.describe(held)}; an object is allowed", where=field, remedy="make it an object")
    return held
