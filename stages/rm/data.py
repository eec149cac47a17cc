"""Comparisons -> encoded completions with the pairs that their rankings imply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contract import Context
from pipeline.errors import DataError
from stages.formats.inputs import read_input
from stages.formats.load import Side
from stages.formats.records import Comparison
from stages.modeling.chat import Chat
from stages.objectives.preference import ranking_pairs
from stages.rollout.sequences import Sequences


@dataclass(frozen=True)
class Ranked:
    """One prompt's completions as ids, and its pairs (winner, loser) by position."""

    prompt: list[int]
    completions: list[list[int]]
    pairs: list[tuple[int, int]]

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest completion."""
        return len(self.prompt) + max(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class Comparisons:
    """What training or evaluation reads, with what was left out and why."""

    ranked: list[Ranked]
    num_tied: int  # comparisons that give no pair
    num_too_long: int

    @property
    def num_pairs(self) -> int:
        return sum(len(item.pairs) for item in self.ranked)

    @property
    def num_tokens(self) -> int:
        return sum(len(item.prompt) + len(c) for item in self.ranked for c in item.completions)

    def describe(self) -> str:
        left_out = f"; left out: {self.num_tied} without an order, {self.num_too_long} longer than max_length"
        return f"{len(self.ranked)} comparisons, {self.num_pairs} pairs, {self.num_tokens} tokens" + left_out


def read_comparisons(context: Context, field: str, chat: Chat, side: Side, max_length: int) -> Comparisons:
    """All comparisons of one input field and side of the split, encoded once each; ties give no pair."""
    records = read_input(context, field if context.data.get(field) else "data", "comparison", side)
    items = [_encode(record, chat) for record in records]
    ordered = [item for item in items if item.pairs]
    fitting = [item for item in ordered if item.longest <= max_length]
    if not fitting:
        raise DataError(
            f"none of {len(records)} {side} comparisons can be used: {len(items) - len(ordered)} have no "
            f"order, {len(ordered)} are longer than max_length {max_length}",
            where=field,
            remedy="rank some completions apart, or raise max_length",
        )
    return Comparisons(fitting, len(items) - len(ordered), len(ordered) - len(fitting))


def sequences(items: Sequence[Ranked]) -> Sequences:
    """All completions of all items, in order, each behind its prompt."""
    rows = [(item.prompt, completion) for item in items for completion in item.completions]
    return Sequences([prompt for prompt, _ in rows], [completion for _, completion in rows])


def _encode(record: Comparison, chat: Chat) -> Ranked:
    completions = [chat.completion_ids(record.prompt, text) for text in record.completions]
    return Ranked(chat.prompt_ids(record.prompt), completions, all_pairs(record))


def all_pairs(record: Comparison) -> list[tuple[int, int]]:
    """Every annotator's pairs; two who agree count twice, so a majority weighs more."""
    pairs: list[tuple[int, int]] = []
    for ranking in record.rankings:
        pairs += ranking_pairs(ranking.ranks)
    return pairs
