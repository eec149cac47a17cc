"""Ranked comparisons -> pairs of a better and a worse answer, as ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contract import Context
from pipeline.errors import DataError
from stages.dpo.config import Config
from stages.formats.inputs import read_input
from stages.formats.load import Side
from stages.formats.records import Comparison
from stages.modeling.chat import Chat
from stages.objectives.preference import ranking_pairs
from stages.rollout.sequences import Sequences


@dataclass(frozen=True)
class Pair:
    """One prompt with a better and a worse answer, as ids."""

    id: str  # of the comparison it comes from
    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def longest(self) -> int:
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


def read_pairs(config: Config, context: Context, chat: Chat, side: Side, limit: int | None = None) -> list[Pair]:
    """Winner and loser of every ranking; with a limit, that many of each comparison, the furthest apart first."""
    records = read_input(context, "data", "comparison", side)
    pairs: list[Pair] = []
    too_long = 0
    for record in records:
        for winner, loser in chosen_pairs(record, limit):
            pair = encode(chat, record, winner, loser)
            if pair.longest > config.max_length:
                too_long += 1
            else:
                pairs.append(pair)
    if not pairs:
        raise DataError(
            f"{len(records)} {side} comparisons give no pair: all are tied, or longer than max_length "
            f"{config.max_length}",
            where="dpo.data",
            remedy="rank some completions apart, or raise max_length",
        )
    context.say(f"{side}: {len(pairs)} pairs from {len(records)} comparisons; left out, too long: {too_long}")
    return pairs


def chosen_pairs(record: Comparison, limit: int | None) -> list[tuple[int, int]]:
    """Positions of winner and loser in every ranking, the furthest apart first; with a limit, that many."""
    own = [
        (ranking.ranks[loser] - ranking.ranks[winner], winner, loser)  # type: ignore[operator]
        for ranking in record.rankings
        for winner, loser in ranking_pairs(ranking.ranks)
    ]
    own.sort(key=lambda pair: -pair[0])
    return [(winner, loser) for _, winner, loser in own[:limit]]


def encode(chat: Chat, record: Comparison, winner: int, loser: int) -> Pair:
    """One pair as ids."""
    chosen, rejected = (chat.completion_ids(record.prompt, record.completions[i]) for i in (winner, loser))
    return Pair(record.id, chat.prompt_ids(record.prompt), chosen, rejected)


def both_sides(pairs: Sequence[Pair]) -> Sequences:
    """All winners, then all losers; a prompt is computed once for both."""
    return Sequences([pair.prompt for pair in pairs] * 2, [p.chosen for p in pairs] + [p.rejected for p in pairs])
