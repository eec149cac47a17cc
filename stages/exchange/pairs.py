"""One person's choices between pairs, made into one ranking with ties that says nothing the person did not say.

Choices are taken as transitive: A over B and B over C put A over C. Where that contradicts another choice, the
completions of the contradiction are left out, since no order holds them. Of the rest a ranking is made of the largest
set in which every two are compared, directly or through others: a ranking of more would invent the missing
comparisons. What is left out is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """`winner` of `first` and `second`, or None for a tie."""

    first: str
    second: str
    winner: str | None


@dataclass(frozen=True)
class Order:
    """Ranks, 1 is best; empty where no two completions can be put in order. `remark` says what was left out."""

    ranks: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    remark: str = ""


def order_of(choices: Sequence[Choice]) -> Order:
    """The ranking that the choices make."""
    above = _at_least(choices)
    torn = _contradicting(choices, above)
    sound = [c for c in choices if not {c.first, c.second} & torn]
    above = _at_least(sound)
    ranks = _largest(above)
    left_out = [c for c in sound if c.first not in ranks or c.second not in ranks]
    warnings, remarks = [], []
    if torn:
        warnings.append("pairs_contradict")
        remarks.append(
            f"the choices {_said([c for c in choices if {c.first, c.second} <= torn])} contradict each other"
        )
    if left_out:
        warnings.append("pairs_left_out")
        remarks.append(f"{_said(left_out)} cannot be ranked with the others: pairs are missing")
    return Order(ranks, tuple(warnings), "; ".join(remarks))


def _at_least(choices: Sequence[Choice]) -> dict[str, set[str]]:
    """For each completion those that it is as good as or better than, by the choices and what follows from them."""
    names = dict.fromkeys(name for c in choices for name in (c.first, c.second))
    below = {name: {name} for name in names}
    for choice in choices:
        if choice.winner != choice.second:
            below[choice.first].add(choice.second)
        if choice.winner != choice.first:
            below[choice.second].add(choice.first)
    for middle in names:  # Warshall's closure
        for name in names:
            if middle in below[name]:
                below[name] |= below[middle]
    return below


def _contradicting(choices: Sequence[Choice], below: Mapping[str, set[str]]) -> set[str]:
    """Completions of circles in which somebody wins: the loser is, through others, as good as its winner."""
    torn: set[str] = set()
    for choice in choices:
        if choice.winner is not None:
            loser = choice.second if choice.winner == choice.first else choice.first
            if choice.winner in below[loser]:
                torn |= {name for name in below if name in below[loser] and loser in below[name]}
    return torn


def _largest(below: Mapping[str, set[str]]) -> dict[str, int]:
    """Ranks of the largest set of completions of which every two are compared; the first such set by name."""
    tiers = {frozenset(other for other in below[name] if name in below[other]) for name in below}
    best: dict[frozenset[str], list[frozenset[str]]] = {}
    for tier in sorted(tiers, key=lambda tier: (len(below[min(tier)]), sorted(tier))):  # worse ones come first
        under = [best[other] for other in best if other <= below[min(tier)]]
        under.sort(key=lambda chain: (-sum(map(len, chain)), sorted(map(sorted, chain))))
        best[tier] = [tier, *(under[0] if under else [])]
    chains = sorted(best.values(), key=lambda chain: (-sum(map(len, chain)), sorted(map(sorted, chain))))
    if not chains or sum(map(len, chains[0])) < 2:
        return {}
    return {name: rank for rank, tier in enumerate(chains[0], start=1) for name in sorted(tier)}


def _said(choices: Sequence[Choice]) -> str:
    signs = [(c.winner, c.second if c.winner == c.first else c.first, ">") if c.winner else (c.first, c.second, "=")
             for c in choices]  # fmt: skip
    return ", ".join(f"{a}{sign}{b}" for a, b, sign in signs)
