"""Several annotators' rankings of one prompt as votes on its pairs: soft targets, which need no consensus.

A majority that goes in a circle is no problem here: each pair says what people said of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from stages.formats.records import Ranking

FEW_VOTES = 3
PSEUDO_VOTES = 1.0  # half to each side; see `Votes.share`


@dataclass(frozen=True)
class Votes:
    """What annotators say of the completions at two positions, first < second."""

    first: int
    second: int
    wins: float  # votes for the first, each by its annotator's weight; a tie is half a vote for each
    losses: float
    num: int  # annotators who voted
    weight: float  # of the pair among its prompt's pairs

    @property
    def share(self) -> float:
        """The target: wins / (wins + losses), with a pseudo-vote in all (Jeffreys's prior) under FEW_VOTES annotators.

        One vote then gives 3/4 and two alike 5/6. That is about how sure they make one: two people agree on some 72%
        of such pairs, so one of them names the better answer of 83%, as .83^2 + .17^2 = .72.
        """
        pseudo = PSEUDO_VOTES if self.num < FEW_VOTES else 0.0
        return (self.wins + pseudo / 2) / (self.wins + self.losses + pseudo)


def votes(rankings: Sequence[Ranking], ties: bool) -> list[Votes]:
    """The votes on every pair that somebody orders, or also ties where `ties` are votes; by position.

    Each annotator's pairs share one unit of weight, times the annotator's own, so that whoever ranked nine completions
    (36 pairs) does not drown whoever ranked two of them. Rankings of weight 0 do not vote.
    """
    found: dict[tuple[int, int], list[tuple[float, float, float]]] = defaultdict(list)  # (won, weight, share of it)
    for ranking in rankings:
        given = [(i, rank) for i, rank in enumerate(ranking.ranks) if rank is not None]
        pairs = [(i, j, a, b) for (i, a), (j, b) in combinations(given, 2) if ties or a != b]
        if ranking.weight > 0:
            for i, j, a, b in pairs:
                won = 1.0 if a < b else 0.0 if a > b else 0.5
                found[i, j].append((won, ranking.weight, ranking.weight / len(pairs)))
    return [
        Votes(
            i,
            j,
            wins=sum(won * weight for won, weight, _ in own),
            losses=sum((1 - won) * weight for won, weight, _ in own),
            num=len(own),
            weight=sum(part for _, _, part in own),
        )
        for (i, j), own in sorted(found.items())
    ]
