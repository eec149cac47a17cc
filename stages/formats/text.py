"""Plain text: {"text"}, for domain adaptation. A row with other columns is taken for it only where a recipe says so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules
from stages.formats.records import Text, row_id

NAME, KINDS = "text", ("text",)
KEYS = "text alone; id?, source?, meta?"
BESIDE = {"id", "source", "meta", "metadata"}


def matches(row: Mapping[str, Any]) -> bool:
    """Text and nothing that would make it something else, such as the label of a classification set."""
    return "text" in row and set(row) <= BESIDE | {"text"}


def convert(row: Mapping[str, Any]) -> Text:
    """The text, unchanged."""
    held = rules.filled(rules.need(row, "text"), "text")
    return Text(row_id(row, {"text": held}), held)
