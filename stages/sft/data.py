"""Conversations -> ids with a loss mask, cut to max_length; and rows -> the items of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from stages.checkpoint.streams import permutation
from stages.formats.records import Instruction
from stages.modeling.chat import Chat, Encoded
from stages.sft.config import Config


def encode(chat: Chat, row: Instruction, config: Config) -> Encoded:
    """The whole conversation, before it is cut."""
    return chat.encode(row.messages, row.tools, config.loss_on)


def truncate(row: Encoded, max_length: int) -> Encoded:
    """Its first max_length tokens."""
    return Encoded(row.input_ids[:max_length], row.completion_mask[:max_length])


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
