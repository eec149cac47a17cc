"""Documents for retrieval: {"text", "title"}. Texts without a title are `text`, which serves as documents too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules
from stages.formats.records import Document, row_id
from stages.formats.text import BESIDE

NAME, KINDS = "documents", ("document",)
KEYS = "text, title; id?, url?, source?, meta?"


def matches(row: Mapping[str, Any]) -> bool:
    """A titled text and nothing that would make it something else."""
    return "text" in row and "title" in row and set(row) <= BESIDE | {"text", "title", "url"}


def convert(row: Mapping[str, Any]) -> Document:
    """The text, unchanged; a row may be without a title where a recipe names the format."""
    text = rules.filled(rules.need(row, "text"), "text")
    title = None if row.get("title") is None else rules.filled(row["title"], "title")
    return Document(row_id(row, {"text": text}), text, title)
