"""Auditing a few rows written to a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.contract import DataSource, Source, TaskConfig
from stages.audit.audit import audit
from stages.audit.audited import Audited
from stages.audit.seen import Settings

Rows = Sequence[Mapping[str, Any]]


def chat(asked: str, answer: str) -> dict[str, Any]:
    """A conversation of two turns."""
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]}


def ranked(
    asked: str, completions: Sequence[str], ranks: Sequence[int | None], annotator: str = "ann"
) -> dict[str, Any]:
    """One annotator's ranking."""
    return {"prompt": asked, "completions": list(completions), "ranks": list(ranks), "annotator": annotator}


def source(path: Path, rows: Rows | bytes, task: TaskConfig | None = None, **options: Any) -> Source:
    """A source of one file, outside the split unless the options say otherwise."""
    path.write_bytes(rows if isinstance(rows, bytes) else "".join(json.dumps(row) + "\n" for row in rows).encode())
    return Source(path.stem, DataSource(path=str(path), **{"split": "all", **options}), task or TaskConfig())


def findings(audited: Audited) -> list[dict[str, Any]]:
    return [json.loads(line) for line in audited.ledger.path.read_text("utf-8").splitlines()]


def look(
    folder: Path, rows: Rows | bytes, against: Rows = (), task: TaskConfig | None = None, **options: Any
) -> Audited:
    """All checks but lengths in tokens and languages, which load a tokenizer and a model."""
    given = [(source(folder / "rows.jsonl", rows, task, **options), False)]
    given += [(source(folder / "test.jsonl", against), True)] if against else []
    return audit(given, Settings({}), folder, skip=["languages"], say=lambda line: None)


def found(
    folder: Path, rows: Rows | bytes, against: Rows = (), **options: Any
) -> set[tuple[str, int | None, tuple[int, ...]]]:
    """Every finding as its check, its row and the rows that it relates to."""
    told = findings(look(folder, rows, against, **options))
    return {(one["check"], one["row"], tuple(row["row"] for row in one["related_rows"])) for one in told}
