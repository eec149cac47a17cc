"""The paragraphs of SQuAD's layout, a document each, for retrieval. A recipe names it: `format: squad_paragraphs`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, squad
from stages.formats.records import Document, part_of, row_id

NAME, KINDS = "squad_paragraphs", ("document",)
KEYS = "paragraphs of context, title?; or context, title?; only where a recipe names it"


def matches(row: Mapping[str, Any]) -> bool:
    """Never: the rows are `squad` too."""
    return False


def convert(row: Mapping[str, Any]) -> tuple[Document, ...]:
    """A document a paragraph, under the article's title; a flat row's id is its question's, so it is not used."""
    if "paragraphs" not in row:
        return (_document({}, rules.need(row, "context"), "context", row),)
    found = list(squad.paragraphs(row))
    if not found:
        raise DataError("no paragraph in it", where="paragraphs", remedy="leave the article out")
    return tuple(
        _document(part_of(row, i, len(found)), rules.need(held, "context", place), f"{place}.context", row)
        for i, (place, held) in enumerate(found)
    )


def _document(named: Mapping[str, Any], context: Any, field: str, row: Mapping[str, Any]) -> Document:
    text = rules.filled(context, field)
    title = None if row.get("title") is None else rules.filled(row["title"], "title")
    return Document(row_id(named, {"text": text}), text, title)
