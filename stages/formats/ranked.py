"""K-wise comparisons: {"prompt", "completions"} with "rankings" (canonical), "ranks", "scores" or "penalties".

Rank 1 is best, a higher score is better, a lower penalty is better. A column of another name gets its direction from
the name it is mapped to. Scores and penalties may also be several annotators': {"ann": [...], "ben": [...]}; where
completions are the same text, each annotator's numbers for them count as their mean. A canonical ranking may have a
"weight": how much its votes count, usually 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.records import Comparison, Ranking

NAME, KINDS = "ranked", ("comparison",)
KEYS = (
    "prompt, completions; rankings of annotator and ranks, or ranks (1 is best), scores (higher is better) or "
    "penalties (lower is better)"
)
MEASURES = {"scores": -1, "penalties": 1}  # the sign with which the lowest is best


def matches(row: Mapping[str, Any]) -> bool:
    """Several completions and an order among them."""
    return "completions" in row and any(key in row for key in ("rankings", "ranks", *MEASURES))


def convert(row: Mapping[str, Any]) -> Comparison:
    """Ranks, where the row has them, before scores and penalties; they must not contradict each other."""
    prompt = turns.read_prompt(rules.need(row, "prompt"))
    completions = rules.listed(rules.need(row, "completions"), "completions")
    answers = [turns.read_completion(value, f"completions[{i}]") for i, value in enumerate(completions)]
    return rules.comparison(row, prompt, answers, _rankings(row, answers))


def _rankings(row: Mapping[str, Any], answers: Sequence[str]) -> list[Ranking]:
    if row.get("rankings") is not None:
        given = rules.listed(row["rankings"], "rankings")
        return [_ranking(value, len(answers), f"rankings[{index}]") for index, value in enumerate(given)]
    orders = {field: _measured(row, field, answers) for field in MEASURES if row.get(field) is not None}
    if row.get("ranks") is not None:
        orders = {"ranks": [rules.ranked(row.get("annotator"), row["ranks"], len(answers), "ranks")]} | orders
    if not orders:
        empty = next((field for field in (*MEASURES, "ranks") if field in row), "scores")
        return [rules.scored(None, rules.need(row, empty), len(answers), empty)]  # raises: the column is null
    (field, rankings), *others = orders.items()
    for other, measured in others:
        if len(measured) == len(rankings) == 1:
            _check_direction(field, rankings[0].ranks, other, measured[0].ranks)
    return rankings


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


def _measured(row: Mapping[str, Any], field: str, answers: Sequence[str]) -> list[Ranking]:
    values, sign = row[field], MEASURES[field]
    if isinstance(values, str) and values.lstrip().startswith("{"):
        values = rules.parsed(values, field)
    if not isinstance(values, Mapping):
        return [_by_number(row.get("annotator"), rules.numbers(values, len(answers), field), sign)]
    given = {name: rules.numbers(value, len(answers), f"{field}.{name}") for name, value in values.items()}
    return [_by_number(name, _shared(numbers, answers), sign) for name, numbers in given.items()]


def _by_number(annotator: Any, numbers: Sequence[float | None], sign: int) -> Ranking:
    signed = [None if value is None else sign * value for value in numbers]
    return Ranking(rules.annotator_name(annotator), rules.dense(signed))


def _shared(numbers: Sequence[float | None], answers: Sequence[str]) -> list[float | None]:
    """Equal texts, which an annotator judged apart without knowing, get the mean of their numbers."""
    of_text: dict[str, list[Fraction]] = {}  # exact: equal means must be equal numbers
    for answer, value in zip(answers, numbers, strict=True):
        of_text.setdefault(answer, []).extend([] if value is None else [Fraction(value)])
    means = {answer: sum(given) / len(given) for answer, given in of_text.items() if given}
    return [None if value is None else means[answer] for answer, value in zip(answers, numbers, strict=True)]


def _check_direction(field: str, ranks: Sequence[int | None], other: str, others: Sequence[int | None]) -> None:
    """An answer that one column prefers and the other puts behind: most likely one of them is upside down."""
    better = {"ranks": "a better rank", "scores": "a higher score", "penalties": "a lower penalty"}
    worse = {"scores": "a lower score", "penalties": "a higher penalty"}
    for i, j in permutations(range(len(ranks)), 2):
        a, b, c, d = ranks[i], ranks[j], others[i], others[j]
        if a is not None and b is not None and c is not None and d is not None and a < b and c > d:
            raise DataError(
                f"completion {i + 1} has {better[field]} and {worse[other]} than completion {j + 1}",
                where=field,
                remedy="rank 1, the highest score and the lowest penalty are best: turn one of them round (a column "
                "of scores in which lower is better is mapped to `penalties`), or leave one out",
            )
