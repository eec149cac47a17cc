"""Conversations and texts -> ids with a loss mask, at most max_length long; and rows -> the items of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from stages.checkpoint.streams import permutation
from stages.formats.records import Instruction, Text
from stages.modeling.chat import Chat, Encoded
from stages.sft.config import Config


@dataclass(frozen=True)
class Lesson:
    """A record with its ids, and the rows that are learnt of it."""

    record: Instruction | Text
    whole: Encoded
    rows: list[Encoded]

    @property
    def is_text(self) -> bool:
        return isinstance(self.record, Text)

    @property
    def num_trained(self) -> int:
        """Tokens that count in the loss."""
        return sum(row.num_trained for row in self.rows)

    @property
    def num_lost(self) -> int:
        """Tokens that would, had they not been cut off."""
        return self.whole.num_trained - self.num_trained


def prepare(chat: Chat, record: Instruction | Text, config: Config) -> Lesson:
    """A conversation in one row, cut off where it is too long; a text without a template, in several if need be."""
    if isinstance(record, Text):
        whole = chat.encode_text(record.full_text)
        return Lesson(record, whole, divided(whole, config.max_length))
    whole = chat.encode(record.messages, record.tools, config.loss_on)
    first = Encoded(whole.input_ids[: config.max_length], whole.completion_mask[: config.max_length])
    return Lesson(record, whole, [first])


def divided(text: Encoded, max_length: int) -> list[Encoded]:
    """Rows of about equal length, so that none is a scrap without context.

    Each begins with the last token of the one before, which does not count again: so every token of the text but the
    first counts once.
    """
    last = len(text.input_ids) - 1
    count = max(1, ceil(last / (max_length - 1)))
    ends = [number * last // count for number in range(count + 1)]
    rows = [text.input_ids[start : end + 1] for start, end in pairwise(ends)]
    return [Encoded(ids, [int(place > 0) for place in range(len(ids))]) for ids in rows]


def packed(rows: Sequence[Encoded], max_length: int, seed: int) -> list[list[Encoded]]:
    """Rows in a random order, several to an item of at most max_length tokens: steps of more even size."""
    items: list[list[Encoded]] = []
    room = 0
    for index in permutation(len(rows), seed, "sft", "packing"):
        length = len(rows[index].input_ids)
        if length > room:
            items.append([])
            room = max_length
        items[-1].append(rows[index])
        room -= length
    return items
