"""Prompts with ranked completions, as ids, made by hand."""

from __future__ import annotations

from stages.formats.records import Ranking
from stages.rm.data import Ranked

Ranks = tuple[int | None, ...]


def ranked(prompt: list[int], completions: list[list[int]], *ranks: Ranks) -> Ranked:
    """An item with one annotator for each of the ranks."""
    return Ranked(prompt, completions, tuple(Ranking(f"annotator {i}", own) for i, own in enumerate(ranks)))


def of_ranks(*ranks: Ranks) -> Ranked:
    """An item whose text does not matter."""
    return ranked([5], [[6 + i, 2] for i in range(len(ranks[0]))], *ranks)
