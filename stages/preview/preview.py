"""A stage's rows -> what will be shown of them: counts, warnings, and a few rows token by token.

The rows are read and encoded by the functions that the stage itself calls (coded.py).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.contract import ModelConfig, Source
from stages.formats.records import Text
from stages.modeling.chat import Chat, load_chat
from stages.preview.checks import CHECKS, case_of, found_in
from stages.preview.coded import reading_of
from stages.preview.figures import Read, ReadRow, figures, read_rows
from stages.preview.pieces import Piece, pieces

MOST_CUT = 200  # tokens shown of what truncation removes
MOST_OF_A_TEXT = 2  # rows shown of the many that a long text may make


@dataclass(frozen=True)
class Part:
    """A conversation, a prompt or an answer, token by token."""

    label: str
    pieces: Sequence[Piece]


@dataclass(frozen=True)
class Row:
    """One record. `number` counts from 1 in the order in which the stage reads; `left_out` is empty if it is used."""

    number: int
    id: str
    source: str
    parts: Sequence[Part]
    num_tokens: int  # of all parts
    length: int  # of the longest sequence, a prompt with one answer: what the stage holds against its limit
    num_counted: int | None  # tokens that count in the loss; None for a prompt, which has none
    left_out: str
    notes: Sequence[str]


@dataclass(frozen=True)
class Warned:
    """One thing that is wrong, what to do, and the numbers of the rows."""

    told: str
    remedy: str
    rows: Sequence[int]


@dataclass(frozen=True)
class Section:
    """One data field of the stage."""

    field: str
    sources: Sequence[str]
    facts: Sequence[tuple[str, str]]
    warnings: Sequence[Warned]
    rows: Sequence[Row]


@dataclass(frozen=True)
class Preview:
    """All that is shown of a stage."""

    stage: str
    kind: str
    model: str
    sections: Sequence[Section]


def preview(
    stage: str,
    kind: str,
    config: Any,
    *,
    model: ModelConfig,
    seed: int,
    sources: Mapping[str, tuple[str, Sequence[Source]]],
    rows: int = 3,
) -> Preview:
    """What the stage's data fields (`sources`: field -> record kind and sources) become, `rows` of each in full.

    DataError for rows that cannot be read, ModelError for a tokenizer that cannot be used: as the stage would raise.
    """
    logging.getLogger("transformers").setLevel(logging.ERROR)  # its remarks on long rows are told here, and better
    chat = load_chat(model)
    sections = []
    for field, (records, given) in sources.items():
        if records == "document":
            continue  # no row of it becomes tokens: a question finds a part of some, when it is asked
        reading = reading_of(kind, field, records)
        read = read_rows(chat, config, reading, records, given)
        shown, warnings = _chosen(chat, read, rows)
        facts = figures(config, reading, read, seed)
        sections.append(Section(field, [source.name for source in given], facts, warnings, shown))
    return Preview(stage, kind, model.model_name_or_path, sections)


def _chosen(chat: Chat, read: Read, count: int) -> tuple[list[Row], list[Warned]]:
    """The first rows, and then an example of each warning that they do not show; and the warnings."""
    hits: dict[str, list[int]] = {name: [] for name in CHECKS}
    refused: dict[tuple[str, str], list[int]] = {}
    for place, one in enumerate(read.rows):
        if one.refusal is not None:
            refused.setdefault((one.refusal.problem, one.refusal.remedy), []).append(place)
        for name in found_in(case_of(chat, one.record, one.coded)) if one.coded else ():
            hits[name].append(place)
    found = [(f"{problem}; training would stop there", remedy, places) for (problem, remedy), places in refused.items()]
    found += [(CHECKS[name].told, CHECKS[name].remedy, places) for name, places in hits.items() if places]
    warned = [Warned(told, remedy, [read.rows[i].number for i in places]) for told, remedy, places in found]
    shown = list(range(min(count, len(read.rows))))
    for _, _, places in found:
        if not set(places) & set(shown):
            shown.append(min(places, key=lambda place: _length(read.rows[place])))
    return [_row(chat, read.rows[place]) for place in shown], warned


def _length(one: ReadRow) -> int:
    return one.coded.length if one.coded else 0


def _row(chat: Chat, one: ReadRow) -> Row:
    refusal = f"refused: {one.refusal.problem}" if one.refusal else ""
    if one.coded is None:
        return Row(one.number, one.record.id, one.source, [], 0, 0, None, refusal, [])
    notes, spans = list(one.coded.notes), one.coded.spans
    if isinstance(one.record, Text) and len(spans) > MOST_OF_A_TEXT:
        notes.append(f"the first {MOST_OF_A_TEXT} rows of it are shown")
        spans = spans[:MOST_OF_A_TEXT]
    if hidden := sum(max(0, len(span.ids) - span.kept - MOST_CUT) for span in one.coded.spans):
        notes.append(f"{hidden:,} more tokens that truncation removes are not shown")
    return Row(
        one.number,
        one.record.id,
        one.source,
        [Part(span.label, pieces(chat, span.first(span.kept + MOST_CUT))) for span in spans],
        sum(len(span.ids) for span in one.coded.spans),
        one.coded.length,
        None if one.record.kind == "prompt" else one.coded.num_counted,
        one.coded.left_out,
        notes,
    )
