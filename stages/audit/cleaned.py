"""The audited rows, written again in the canonical layout that stages/formats reads; with `fix`, cleaned.

A cleaned copy is made without later copies, rows that leak, and rows that contradict each other; and text that was read
in the wrong encoding is read again. changes.jsonl lists every row that was changed or left out, with the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from stages.audit.ledger import Finding, Place
from stages.audit.rows import Row
from stages.audit.texts import is_mojibake
from stages.formats.records import Comparison, Document, Instruction, Message, Prompt, Text, Unpaired, ranking_row

CHANGES = "changes.jsonl"


class Changes:
    """The list of rows that were changed or left out."""

    def __init__(self, folder: Path) -> None:
        self.path, self.num_changed, self.num_left_out = folder / CHANGES, 0, 0
        self._stream: TextIO = self.path.open("w", encoding="utf-8")

    def left_out(self, source: str, file: str, row: int | None, check: str, reason: str) -> None:
        self.num_left_out += 1
        self._write({"what": "left out", "source": source, "file": file, "row": row, "check": check, "reason": reason})

    def changed(self, row: Row, check: str, reason: str) -> None:
        self.num_changed += 1
        self._write({"what": "changed", "source": row.source.name, "file": row.file, "row": row.number, "check": check,
                     "reason": reason})  # fmt: skip

    def close(self) -> None:
        self._stream.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        self._stream.write(json.dumps(line) + "\n")


def write(
    rows: Iterator[Row], path_of: Callable[[Row], Path], dropped: Mapping[Place, Finding], changes: Changes, fix: bool
) -> int:
    """Write the rows, those of one path together; returns how many were written."""
    written, path, stream = 0, None, None
    try:
        for row in rows:
            if fix and (finding := dropped.get(row.place)):
                about = "" if finding.row == row.number else f"see row {finding.row}: "
                changes.left_out(row.source.name, row.file, row.number, finding.check, about + finding.message)
                continue
            if path_of(row) != path:
                if stream:
                    stream.close()
                path = path_of(row)
                stream = path.open("w", encoding="utf-8")
            record = _mended(row, changes) if fix else row.record
            assert stream is not None
            stream.write(json.dumps(layout(record, row.raw), ensure_ascii=False) + "\n")
            written += 1
    finally:
        if stream:
            stream.close()
    return written


def layout(record: Any, raw: Mapping[str, Any]) -> dict[str, Any]:
    """The canonical row of a record; what its raw row knew of the right answer stays with it."""
    known = {name: raw[name] for name in ("reference", "documents") if raw.get(name) is not None}
    if isinstance(record, Instruction):
        return (
            {"id": record.id, "messages": list(record.messages)}
            | ({"tools": record.tools} if record.tools else {})
            | ({"references": list(record.references)} if record.references else {})
            | known
        )
    if isinstance(record, Text):
        title = record.title if isinstance(record, Document) else None
        return {"id": record.id, "text": record.text} | ({"title": title} if title else {})
    row: dict[str, Any] = {"id": record.id, "prompt": list(record.prompt)}
    if isinstance(record, Comparison):
        row |= {"completions": list(record.completions), "rankings": list(map(ranking_row, record.rankings))}
        row |= {"source": record.source} if record.source is not None else {}
    elif isinstance(record, Unpaired):
        row |= {"completion": record.completion, "desirable": record.desirable}
    elif isinstance(record, Prompt):
        given = {"reference": record.reference, "documents": record.documents}
        return row | {name: value for name, value in given.items() if value is not None}
    return row | known


def _mended(row: Row, changes: Changes) -> Any:
    """The record with mojibake undone; the change is listed."""
    record, fields = row.record, [name for name, text in row.fields if not text.isascii() and is_mojibake(text)]
    if not fields:
        return record
    changes.changed(row, "damaged_characters", f"text read in the wrong encoding was read again: {', '.join(fields)}")
    if isinstance(record, Instruction):
        return replace(record, messages=_messages(record.messages))
    if isinstance(record, Text):
        return replace(record, text=_text(record.text))
    record = replace(record, prompt=_messages(record.prompt))
    if isinstance(record, Comparison):
        return replace(record, completions=tuple(map(_text, record.completions)))
    return replace(record, completion=_text(record.completion)) if isinstance(record, Unpaired) else record


def _messages(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    return tuple({**message, "content": _text(message["content"])} for message in messages)


def _text(text: str) -> str:
    from ftfy import fix_encoding

    return fix_encoding(text) if is_mojibake(text) else text
