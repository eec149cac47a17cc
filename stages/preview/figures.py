"""Rows read and encoded as the stage would, and the counts that stand above them.

Of very many rows only some are encoded, spread evenly over all, and the counts say so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from pipeline.contract import Source
from pipeline.errors import ModelError
from stages.formats.load import Kind, load
from stages.formats.records import Text
from stages.modeling.chat import Chat, Encoded
from stages.preview.coded import Coded, Reading
from stages.sft.data import packed

MOST_LOOKED_AT = 2000  # rows; each is rendered several times
SIDES = {"train": "for training", "heldout": "held out", "all": "on both sides of the split"}


@dataclass(frozen=True)
class ReadRow:
    """One record. `number` counts from 1 in the order in which the stage reads."""

    number: int
    source: str
    record: Any
    coded: Coded | None  # None: the chat template refuses it
    refusal: ModelError | None = None


@dataclass(frozen=True)
class Read:
    """The records that were looked at, of how many, and the bad rows by place and fault."""

    rows: Sequence[ReadRow]
    num_rows: int
    skipped: Sequence[tuple[str, str]]


def read_rows(chat: Chat, config: Any, reading: Reading, kind: Kind, sources: Sequence[Source]) -> Read:
    """The rows of a data field, in the order in which the stage reads them."""
    loaded = [(source.name, load(source, kind, reading.side)) for source in sources]
    records = [(name, record) for name, held in loaded for record in held.records]
    count = min(len(records), MOST_LOOKED_AT)
    places = [index * len(records) // count for index in range(count)]
    rows = [_encoded(chat, config, reading, (place, *records[place])) for place in places]
    return Read(rows, len(records), [bad for _, held in loaded for bad in held.skipped])


def _encoded(chat: Chat, config: Any, reading: Reading, given: tuple[int, str, Any]) -> ReadRow:
    place, source, record = given
    try:
        return ReadRow(place + 1, source, record, reading.encode(config, chat, record))
    except ModelError as error:
        return ReadRow(place + 1, source, record, None, error)


def figures(config: Any, reading: Reading, read: Read, seed: int) -> list[tuple[str, str]]:
    """What there is to count, as name and text."""
    coded = [row.coded for row in read.rows if row.coded is not None]
    told = [("rows", f"{read.num_rows:,} {SIDES[reading.side]}")]
    if len(read.rows) < read.num_rows:
        told.append(("looked at", f"{len(read.rows):,} of them, spread evenly: all that follows is of these"))
    if read.skipped:
        place, fault = read.skipped[0]
        told.append(("bad rows", f"{len(read.skipped):,} left out, the first at {place} ({fault})"))
    told.append(("left out", _left_out(read)))
    if not coded:
        return told
    if texts := [row for row in read.rows if row.coded and isinstance(row.record, Text)]:
        num_rows = sum(len(row.coded.spans) for row in texts if row.coded)
        told.append(("texts", f"{len(texts):,} in {num_rows:,} rows: of each text every token but the first counts"))
    told.append(("tokens a row", _lengths(coded, reading.limit(config), reading.limit_name)))
    if reading.cuts:
        told.append(("cut", _cut(coded, reading.limit_name)))
    if reading.side != "heldout":
        told += _counted(coded)
    if pairs := sum(row.num_pairs for row in coded):
        left_out = sum(row.num_pairs_left_out for row in coded)
        told.append(("pairs", f"{pairs:,}" + (f"; left out, too long: {left_out:,}" if left_out else "")))
    if getattr(config, "packing", False) and reading.cuts:
        told.append(("packing", _packing(coded, config.max_length, seed)))
    return told


def _left_out(read: Read) -> str:
    """Rows that the stage does not use, by reason."""
    reasons = Counter("refused by the chat template" if row.coded is None else row.coded.left_out for row in read.rows)
    reasons.pop("", None)
    return "; ".join(f"{count:,} {reason}" for reason, count in reasons.most_common()) or "none"


def _lengths(coded: Sequence[Coded], limit: int | None, name: str) -> str:
    lengths = [row.length for row in coded]
    held = f"; {name} {limit:,}" if limit is not None else ""
    return f"{min(lengths):,} least, {median(lengths):,.0f} median, {max(lengths):,} most{held}"


def _cut(coded: Sequence[Coded], name: str) -> str:
    lost = [row.num_lost for row in coded if row.num_lost[0]]
    if not lost:
        return f"nothing: every row fits {name}"
    tokens, counted = (sum(column) for column in zip(*lost, strict=True))
    rows = "1 row" if len(lost) == 1 else f"{len(lost):,} rows"
    return f"{name} cuts {rows}: {tokens:,} tokens, {counted:,} of them would count in the loss"


def _counted(coded: Sequence[Coded]) -> list[tuple[str, str]]:
    """Tokens that count, of all that the model reads of the rows that are used."""
    used = [row for row in coded if not row.left_out]
    counted = sum(row.num_counted for row in used)
    read = sum(span.kept for row in used for span in row.spans)
    return [("in the loss", f"{counted:,} of {read:,} tokens ({counted / read:.0%})")] if counted else []


def _packing(coded: Sequence[Coded], max_length: int, seed: int) -> str:
    """The items that the stage would make of these rows."""
    rows = [Encoded(s.ids[: s.kept], s.mask[: s.kept]) for row in coded for s in row.spans]
    items = packed(rows, max_length, seed)
    full = sum(len(row.input_ids) for row in rows) / (len(items) * max_length)
    shape = f"{len(rows):,} rows in {len(items):,} items of at most {max_length:,} tokens"
    return f"{shape}, {full:.0%} full; no row sees another"
