"""Classification: {"text", "label"} or {"text", "category"}. The text is the user's turn, the label the answer.

A number is taken as the label's name. What the labels mean belongs into a prompt, or is learned from the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules
from stages.formats.records import Instruction

NAME, KINDS = "labelled", ("instruction",)
KEYS = "text; label or category"
LABELS = ("label", "category")
OTHERS = ("intent", "intents", "slots", "prompt", "messages", "completion", "output")


def matches(row: Mapping[str, Any]) -> bool:
    """A text with exactly one label."""
    return "text" in row and sum(key in row for key in LABELS) == 1 and not any(key in row for key in OTHERS)


def convert(row: Mapping[str, Any]) -> Instruction:
    """The text's turn and the label's."""
    column = next((key for key in LABELS if key in row), LABELS[0])
    asked = {"role": "user", "content": rules.filled(rules.need(row, "text"), "text")}
    return rules.instruction(row, [asked, {"role": "assistant", "content": _label(rules.need(row, column), column)}])


def _label(value: Any, field: str) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise DataError(
            f"is {rules.describe(value)}; one label, as text or a whole number, is allowed",
            where=field,
            remedy="write the label's name",
        )
    return rules.filled(value, field)
