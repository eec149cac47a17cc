"""Tokens of rows against max_length, and what truncation would remove.

A text has no more tokens than bytes, so a row whose bytes and turns fit needs no counting. A random sample of each
source is counted, and gives the figures of the table. Of the other rows those are counted that would be too long with
half as many tokens a byte again as the densest row counted so far. A row is counted as the stages read it, with the
chat template.
"""

from __future__ import annotations

import random
from array import array
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import Table
from pipeline.errors import ModelError
from stages.audit.ledger import Add, Finding
from stages.audit.rows import Row
from stages.audit.seen import SIDES, Check, Seen
from stages.formats.records import Instruction, Text, canonical

if TYPE_CHECKING:
    from stages.modeling.chat import Chat

SAMPLED, HEAD = 500, 30  # rows a source: at random for the figures, and its first for a first look at its density
MARGIN = 1.5  # on the densest row's tokens a byte
TURN_BYTES = 40  # more than a template writes around a turn
MAX_COUNTED = 20_000  # rows a source beyond the sample, the longest first
BARS, WIDTH = 8, 30  # of the histogram


class TokenLengths(Check):
    """Which rows are longer than the model will read."""

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._bytes = array("L")
        self._density: dict[str, float] = defaultdict(float)  # the most tokens a byte so far, by source
        self._heads: dict[str, int] = defaultdict(int)
        self._sample: dict[str, dict[int, int]] = {}  # source -> row -> tokens
        self._uncounted: dict[str, int] = {}
        self._too_long: dict[str, int] = defaultdict(int)
        self._texts: set[str] = set()  # the sources of plain text
        self._problem: ModelError | None = None
        self._chat = self._load()
        self._base = len(self._chat.prompt_ids([{"role": "user", "content": "a"}])) if self._chat else 0

    def _load(self) -> Chat | None:
        if self.seen.settings.model is None:
            return None
        from stages.modeling.chat import load_chat

        try:
            return load_chat(self.seen.settings.model)
        except ModelError as error:
            self._problem = error
            return None

    def see(self, row: Row) -> None:
        self._bytes.append(_num_bytes(row) + self._base)
        name = row.source.name
        if isinstance(row.record, Text):
            self._texts.add(name)
        if self._chat and row.side != "against" and self._heads[name] < HEAD:
            self._heads[name] += 1
            self._count(row)

    def _limit(self, source: str) -> int:
        """Tokens a row beyond which something is lost; 0: nothing is, as of texts, which are learnt in several rows."""
        return 0 if source in self._texts else self.seen.settings.max_lengths.get(source, 0)

    def again(self) -> Collection[int]:
        seen, sizes = self.seen, np.frombuffer(self._bytes, dtype=np.uint64).astype(np.int64)
        self._wanted: set[int] = set()
        if self._chat is None:
            return ()
        chooser = random.Random(seen.settings.seed)
        for source, indices in _by_source(seen).items():
            self._sample[source] = dict.fromkeys(
                sorted(chooser.sample(indices.tolist(), min(SAMPLED, len(indices)))), 0
            )
            limit = self._limit(source)
            unproved = indices[sizes[indices] > limit] if limit else indices[:0]
            longest = unproved[np.argsort(-sizes[unproved], kind="stable")]
            possible = longest[sizes[longest] * self._density[source] * MARGIN > limit]
            self._uncounted[source] = max(0, len(possible) - MAX_COUNTED)
            self._wanted.update(self._sample[source], possible[:MAX_COUNTED].tolist())
        return self._wanted

    def look(self, row: Row, add: Add) -> None:
        name = row.source.name
        if row.index not in self._wanted:
            return
        limit = self._limit(name)
        is_sampled = row.index in self._sample[name]
        if not is_sampled and self._bytes[row.index] * self._density[name] * MARGIN <= limit:
            return
        try:
            tokens, left = self._count(row, limit)
        except ModelError as error:
            add(self.seen.finding("error", "template", row.index, [], error.problem))
            return
        if is_sampled:
            self._sample[name][row.index] = tokens
        if limit and tokens > limit:
            self._too_long[name] += 1
            add(
                self.seen.finding(
                    "warning", "too_long", row.index, [], f"{tokens} tokens, and max_length is {limit}: {left}"
                )
            )

    def end(self, add: Add) -> list[Table]:
        if self._problem:
            place = f"lengths in tokens were not looked at: {self._problem.where}: {self._problem.problem}"
            for source in dict.fromkeys(self.seen.sources):
                add(Finding("warning", "too_long", source, place))
        tables = [self._table()] if self._sample else []
        for source, sample in self._sample.items():
            if rest := self._uncounted[source]:
                message = f"{rest} more rows may be too long; the {MAX_COUNTED} longest were counted"
                add(Finding("note", "too_long", source, message))
            tables.append(_histogram(source, list(sample.values())))
        return tables

    def _table(self) -> Table:
        rows = []
        for source, sample in self._sample.items():
            tokens = np.array(list(sample.values()))
            middle, high = (int(np.percentile(tokens, at)) for at in (50, 95))
            limit = self._limit(source) or None
            rows.append([source, len(tokens), middle, high, int(tokens.max()), limit, self._too_long[source]])
        note = (
            "Tokens with the chat template, of rows taken at random. Rows over max_length are counted among all rows; "
            f"those were passed over that fit even at {MARGIN:g} times the tokens a byte of the densest row counted"
        )
        return Table(
            "Lengths", ["source", "sampled", "median", "95%", "longest", "max_length", "rows over it"], rows, note
        )

    def _count(self, row: Row, limit: int = 0) -> tuple[int, str]:
        """The row's tokens, and what would be lost of it."""
        assert self._chat is not None
        record = row.record
        if isinstance(record, Instruction):
            encoded = self._chat.encode(record.messages, record.tools)
            tokens, answer = len(encoded.input_ids), sum(encoded.completion_mask)
            left = max(0, limit - (tokens - answer))
            lost = (
                "nothing of the answer is left"
                if not left
                else f"{answer - left} of the answer's {answer} tokens are cut"
            )
        elif isinstance(record, Text):
            tokens, lost = len(self._chat.encode_text(record.full_text).input_ids), ""
        else:
            tokens = len(self._chat.prompt_ids(row.prompt))
            longest = max((text for _, text in row.answers), key=len, default="")
            tokens += len(self._chat.completion_ids(row.prompt, longest)) if longest else 0
            lost = "it is left out by rm and dpo" if longest else "it leaves no room for an answer"
        self._density[row.source.name] = max(self._density[row.source.name], tokens / self._bytes[row.index])
        return tokens, lost


def _num_bytes(row: Row) -> int:
    """No fewer than the row's tokens, but for what a template writes before the first turn."""
    asked = sum(_size(message["content"]) + TURN_BYTES for message in row.prompt)
    asked += sum(len(canonical(message["tool_calls"])) for message in row.prompt if message.get("tool_calls"))
    if isinstance(row.record, Text):
        return _size(row.record.full_text)
    if isinstance(row.record, Instruction):
        last = row.record.messages[-1]
        asked += len(canonical([row.record.tools, last.get("tool_calls")])) if row.record.tools else 0
    return asked + TURN_BYTES + max((_size(text) for _, text in row.answers), default=0)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _by_source(seen: Seen) -> dict[str, NDArray[np.int64]]:
    """The audited rows of each source."""
    own = np.flatnonzero(seen.sides != SIDES.index("against"))
    found: dict[str, NDArray[np.int64]] = {}
    numbers = seen.source_numbers[own]
    for number in np.unique(numbers):
        name = seen.sources[number]
        mine = own[numbers == number]
        found[name] = np.concatenate([found[name], mine]) if name in found else mine
    return found


def _histogram(source: str, tokens: Sequence[int]) -> Table:
    """Rows by length, on a scale that doubles."""
    edges = [0] + [2**power for power in range(5, 40) if 2**power < 2 * max(tokens)]
    edges = [0, *edges[1:][-BARS + 1 :]]
    counts, _ = np.histogram(tokens, [*edges, max(edges[-1] * 2, max(tokens) + 1)])
    rows = [
        [f"from {low}", int(count), "#" * round(WIDTH * int(count) / max(1, int(counts.max())))]
        for low, count in zip(edges, counts, strict=True)
    ]
    return Table(f"Tokens a row of {source}", ["tokens", "rows in the sample", ""], rows)
