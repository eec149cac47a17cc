"""Solutions that a program has checked: {"question", "<solver>": {"solution", "is_correct"}, "<solver>": ...}.

A right solution is better than a wrong one; among right ones, and among wrong ones, there is a tie.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.records import Comparison, Ranking

NAME, KINDS = "solutions", ("comparison",)
KEYS = "question or prompt; for each solver a column of solution and is_correct"
ANNOTATOR = "is_correct"  # a check, no person


def matches(row: Mapping[str, Any]) -> bool:
    """A question and at least one checked solution."""
    return ("question" in row or "prompt" in row) and bool(_solvers(row))


def convert(row: Mapping[str, Any]) -> Comparison:
    """The solutions in the order of the columns."""
    field = "prompt" if "prompt" in row else "question"
    prompt = turns.read_prompt(rules.need(row, field), field)
    solvers = _solvers(row)
    answers = [rules.filled(rules.need(row[name], "solution", name), f"{name}.solution") for name in solvers]
    ranks = rules.dense([0 if _is_right(row[name], name) else 1 for name in solvers])
    if not solvers:
        raise DataError("no column holds solution and is_correct", where="solution", remedy="mend the row")
    return rules.comparison(row, prompt, answers, [Ranking(ANNOTATOR, ranks)])


def _solvers(row: Mapping[str, Any]) -> list[str]:
    return [name for name, held in row.items() if isinstance(held, Mapping) and "is_correct" in held]


def _is_right(held: Mapping[str, Any], name: str) -> bool:
    value = held["is_correct"]
    if not isinstance(value, bool):
        raise DataError(
            f"is {rules.describe(value)}; true or false is allowed", where=f"{name}.is_correct", remedy="mend the row"
        )
    return value
