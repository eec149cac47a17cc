"""Two answers and who won, as ranks: what the formats of votes share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import DataError, nearest
from stages.formats import rules
from stages.formats.records import Comparison, Message, Ranking

Ranks = tuple[int | None, ...]
FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def verdict(value: Any, allowed: Mapping[str, Ranks], field: str) -> Ranks:
    """The ranks that a word or a number stands for; a number may be written as text, as CSV columns hold it."""
    said = _said(value)
    if said not in allowed:
        raise DataError(
            f"is {rules.describe(value) if said is None else repr(said)}; allowed: {', '.join(allowed)}",
            where=field,
            remedy=nearest(said or "", allowed),
        )
    return allowed[said]


def lean(value: Any, limit: int, field: str) -> Ranks:
    """The ranks of a signed preference: below 0 for the first answer, above 0 for the second, 0 for neither."""
    number = rules.number(value, field)
    if not -limit <= number <= limit:
        raise DataError(
            f"is {str(number)[:20]}; {-limit} (the first answer is better) to {limit} (the second) are allowed",
            where=field,
            remedy="mend the row, or name its format under `format`",
        )
    return FIRST if number < 0 else SECOND if number > 0 else TIE


def vote(row: Mapping[str, Any], messages: Sequence[Message], answers: Sequence[Any], ranks: Ranks) -> Comparison:
    """The comparison of two answers by one annotator, named in the row's `annotator` where it says who."""
    return rules.comparison(row, messages, answers, [Ranking(rules.annotator_name(row.get("annotator")), ranks)])


def _said(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip() if isinstance(value, (str, int)) else None
