"""Comparisons -> encoded completions with the judgements that their rankings imply.

Shapes: N completions of several prompts in one row, P pairs, O whole rankings, K completions of one ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from pipeline.contract import Context
from pipeline.errors import DataError
from stages.agreement.votes import Votes, votes
from stages.formats.inputs import read_sources
from stages.formats.load import Side
from stages.formats.records import Comparison, Ranking
from stages.modeling.chat import Chat
from stages.objectives.preference import ranking_pairs, tied_pairs
from stages.rollout.sequences import Sequences

Pair = tuple[int, int]


@dataclass(frozen=True)
class Ranked:
    """One prompt's completions as ids, and people's rankings of them."""

    prompt: list[int]
    completions: list[list[int]]
    rankings: tuple[Ranking, ...]
    keep_ties: bool = False  # whether what is learnt from it includes the ties
    source: str = ""  # the data source it was read from
    origin: str = ""  # what its row says of where it comes from

    @cached_property
    def pairs(self) -> list[Pair]:
        """Every annotator's pairs (winner, loser) by position; two who agree count twice: a majority weighs more."""
        return [pair for ranking in self.rankings for pair in ranking_pairs(ranking.ranks)]

    @cached_property
    def ties(self) -> list[Pair]:
        """Every annotator's tied pairs, where they are kept."""
        return [pair for ranking in self.rankings for pair in tied_pairs(ranking.ranks)] if self.keep_ties else []

    @cached_property
    def votes(self) -> list[Votes]:
        """What all annotators say of each pair, once a pair."""
        return votes(self.rankings, self.keep_ties)

    @cached_property
    def orders(self) -> list[list[int]]:
        """Positions of the completions that an annotator ranked, best first, of each ranking without ties."""
        given = [[(r, i) for i, r in enumerate(ranking.ranks) if r is not None] for ranking in self.rankings]
        untied = [own for own in given if len({rank for rank, _ in own}) == len(own) > 1]
        return [[position for _, position in sorted(own)] for own in untied]

    @property
    def is_useful(self) -> bool:
        """Whether its rankings say anything that can be learnt."""
        return bool(self.pairs or self.ties)

    @property
    def longest(self) -> int:
        """Tokens of the prompt with its longest completion."""
        return len(self.prompt) + max(len(completion) for completion in self.completions)


@dataclass(frozen=True)
class Comparisons:
    """What training or evaluation reads, with what was left out and why."""

    ranked: list[Ranked]
    num_tied: int  # comparisons that give nothing to learn from
    num_too_long: int
    num_tied_pairs: int = 0  # of the comparisons that are used
    num_tied_rankings: int = 0
    num_unheard: int = 0  # rankings of weight 0

    @property
    def num_pairs(self) -> int:
        return sum(len(item.pairs) for item in self.ranked)

    @property
    def has_weights(self) -> bool:
        """Whether some annotator's ranking counts more or less than another's."""
        return any(ranking.weight != 1 for item in self.ranked for ranking in item.rankings)

    @property
    def num_tokens(self) -> int:
        return sum(len(item.prompt) + len(c) for item in self.ranked for c in item.completions)

    @property
    def figures(self) -> dict[str, float]:
        """What the stage records of its training data."""
        left_out = self.num_tied + self.num_too_long
        return {
            "data/num_pairs": self.num_pairs,
            "data/num_tokens": self.num_tokens,
            "data/num_left_out": left_out,
        }

    def describe(self) -> str:
        left_out = f"; left out: {self.num_tied} without an order, {self.num_too_long} longer than max_length"
        if self.num_tied_pairs:
            left_out += f", {self.num_tied_pairs} tied pairs"
        if self.num_tied_rankings:
            left_out += f", {self.num_tied_rankings} rankings with a tie"
        if self.num_unheard:
            left_out += f", {self.num_unheard} rankings of weight 0"
        return f"{len(self.ranked)} comparisons, {self.num_pairs} pairs, {self.num_tokens} tokens" + left_out


@dataclass(frozen=True)
class Voted:
    """Each pair of completions once, with the share of votes for the first and the pair's weight in its prompt."""

    pairs_P2: Tensor
    share_P: Tensor
    weight_P: Tensor
    group_P: Tensor


@dataclass(frozen=True)
class Judgements:
    """What people said of several prompts' completions, by position among all N."""

    pairs_P2: Tensor  # (winner, loser), and after a prompt's pairs its ties where they are kept
    tied_P: Tensor
    group_P: Tensor  # the prompt of each pair, counted from 0
    orders: list[Tensor]  # O whole rankings, best first
    group_O: Tensor
    voted: Voted


def read_comparisons(
    context: Context, chat: Chat, side: Side, max_length: int, reads: Callable[[Ranked], Ranked] = lambda item: item
) -> Comparisons:
    """All comparisons of one side of the split, encoded once each; `reads` says what of them can be used."""
    field = "eval_data" if side == "heldout" and context.data.get("eval_data") else "data"
    given = [
        replace(encode(record, chat), source=source.name)
        for source, records in read_sources(context, field, "comparison", side)
        for record in records
    ]
    items = [reads(item) for item in given]
    useful = [i for i, item in enumerate(items) if item.is_useful]
    fitting = [i for i in useful if items[i].longest <= max_length]
    if not fitting:
        raise DataError(
            f"none of {len(given)} {side} comparisons can be used: {len(items) - len(useful)} have no "
            f"order, {len(useful)} are longer than max_length {max_length}",
            where=field,
            remedy="rank some completions apart, or raise max_length",
        )
    used = [items[i] for i in fitting]
    unread = [r for i in fitting for r in given[i].rankings if r not in items[i].rankings]
    return Comparisons(
        used,
        num_tied=len(items) - len(useful),
        num_too_long=len(useful) - len(fitting),
        num_tied_pairs=sum(len(tied_pairs(r.ranks)) for item in used if not item.keep_ties for r in item.rankings),
        num_tied_rankings=sum(ranking.weight > 0 for ranking in unread),
        num_unheard=sum(ranking.weight == 0 for ranking in unread),
    )


def sequences(items: Sequence[Ranked]) -> Sequences:
    """All completions of all items, in order, each behind its prompt."""
    rows = [(item.prompt, completion) for item in items for completion in item.completions]
    return Sequences([prompt for prompt, _ in rows], [completion for _, completion in rows])


def judgements(items: Sequence[Ranked], device: torch.device | str = "cpu") -> Judgements:
    """The rankings of several prompts, by position in the rows of `sequences`."""
    pairs: list[Pair] = []
    tied: list[bool] = []
    orders: list[Tensor] = []
    group_of_pair: list[int] = []
    group_of_order: list[int] = []
    offset = 0
    for group, item in enumerate(items):
        both = item.pairs + item.ties
        pairs += [(one + offset, other + offset) for one, other in both]
        tied += [False] * len(item.pairs) + [True] * len(item.ties)
        group_of_pair += [group] * len(both)
        orders += [torch.tensor(order, device=device) + offset for order in item.orders]
        group_of_order += [group] * len(item.orders)
        offset += len(item.completions)
    return Judgements(
        pairs_P2=torch.tensor(pairs, device=device),
        tied_P=torch.tensor(tied, device=device),
        group_P=torch.tensor(group_of_pair, device=device),
        orders=orders,
        group_O=torch.tensor(group_of_order, device=device),
        voted=_voted(items, device),
    )


def _voted(items: Sequence[Ranked], device: torch.device | str) -> Voted:
    starts = [0, *accumulate(len(item.completions) for item in items)]
    found = [(group, starts[group], vote) for group, item in enumerate(items) for vote in item.votes]
    return Voted(
        pairs_P2=torch.tensor([(start + v.first, start + v.second) for _, start, v in found], device=device),
        share_P=torch.tensor([v.share for _, _, v in found], device=device),
        weight_P=torch.tensor([v.weight for _, _, v in found], device=device),
        group_P=torch.tensor([group for group, _, _ in found], device=device),
    )


def encode(record: Comparison, chat: Chat) -> Ranked:
    """The comparison as ids."""
    completions = [chat.completion_ids(record.prompt, text) for text in record.completions]
    return Ranked(chat.prompt_ids(record.prompt), completions, record.rankings, origin=_origin(record.source))


def _origin(source: Any) -> str:
    """A row's own `source` as one name: what collect wrote holds a batch, and who wrote each answer."""
    batch = source.get("batch_id") if isinstance(source, Mapping) else None
    return source if isinstance(source, str) else f"batch {batch}" if batch else ""
