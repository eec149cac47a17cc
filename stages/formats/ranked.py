"""K-wise comparisons: {"prompt", "completions"} with "rankings" (canonical), "ranks" or "scores".

Rank 1 is best; a higher score is better. A canonical ranking may have a "weight": how much its votes count, usually 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.records import Comparison, Ranking

NAME, KINDS = "ranked", ("comparison",)
KEYS = "prompt, completions; rankings of annotator and ranks, or ranks (1 is best), or scores (higher is better)"


def matches(row: Mapping[str, Any]) -> bool:
    """Several completions and an order among them."""
    return "completions" in row and any(key in row for key in ("rankings", "ranks", "scores"))


def convert(row: Mapping[str, Any]) -> Comparison:
    """Ranks, where the row has them, before scores; the two must not contradict each other."""
    prompt = turns.read_prompt(rules.need(row, "prompt"))
    completions = rules.listed(rules.need(row, "completions"), "completions")
    answers = [turns.read_completion(value, f"completions[{i}]") for i, value in enumerate(completions)]
    return rules.comparison(row, prompt, answers, _rankings(row, len(answers)))


def _rankings(row: Mapping[str, Any], count: int) -> list[Ranking]:
    if row.get("rankings") is not None:
        given = rules.listed(row["rankings"], "rankings")
        return [_ranking(value, count, f"rankings[{index}]") for index, value in enumerate(given)]
    name = row.get("annotator")
    if row.get("ranks") is None:
        return [rules.scored(name, rules.need(row, "scores"), count, "scores")]
    ranking = rules.ranked(name, row["ranks"], count, "ranks")
    if row.get("scores") is not None:
        _check_direction(ranking.ranks, rules.scored(name, row["scores"], count, "scores").ranks)
    return [ranking]


def _ranking(value: Any, count: int, field: str) -> Ranking:
    if not isinstance(value, Mapping):
        raise DataError(
            f"is {rules.describe(value)}; an object with annotator and ranks is allowed",
            where=field,
            remedy='write {"annotator": "ann", "ranks": [1, 2]}',
        )
    ranks = rules.need(value, "ranks", field)
    ranking = rules.ranked(rules.need(value, "annotator", field), ranks, count, f"{field}.ranks")
    return replace(ranking, weight=rules.weight(value.get("weight"), f"{field}.weight"))


def _check_direction(ranks: Sequence[int | None], by_score: Sequence[int | None]) -> None:
    """Ranks that prefer an answer its scores put behind are most likely upside down."""
    for i, j in permutations(range(len(ranks)), 2):
        a, b, c, d = ranks[i], ranks[j], by_score[i], by_score[j]
        if a is not None and b is not None and c is not None and d is not None and a < b and c > d:
            raise DataError(
                f"completion {i + 1} has a better rank and a lower score than completion {j + 1}",
                where="ranks",
                remedy="rank 1 and the highest score are best: turn one of them round, or leave one out",
            )
