"""The figure that a verdict is about, and which way of it is up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.errors import RecipeError, nearest
from stages.evaluate.answers import Figures
from stages.evaluate.foretold import NEUTRAL, SCORES

# How a figure's name begins -> 1 more is better, -1 less is better, 0 neither. All others: more is better.
DIRECTIONS = {**dict.fromkeys(NEUTRAL, 0), "perplexity": -1}

# Which of several is taken: first what a program finds right or wrong, then nearness to a reference, then opinions.
PREFERRED = (
    "label_accuracy", "number_right", "exact", "f1", "field_accuracy", "valid_json", "all_instructions_followed",
    "instructions_followed", "rouge", "supported", "in_label_set", "win rate under the",
    "second reward model's score", "proxy score",
)  # fmt: skip
PROXY = SCORES["reward"]  # what PPO optimised: last, for it rises whether or not the answers get better


def direction(figure: str) -> int:
    """1 where more is better, -1 where less is, 0 where neither."""
    return next((sign for start, sign in DIRECTIONS.items() if figure.startswith(start)), 1)


def check_primary(wanted: str, known: Sequence[str]) -> None:
    """RecipeError where none of the figures that will be known is `wanted`, or more of it is neither better nor worse.

    For before anything is asked: a mistyped name must not cost an evaluation.
    """
    able = [name for name in known if direction(name)]
    if wanted not in known:
        raise RecipeError(
            f"no candidate will have the figure '{wanted}'", where="evaluate.primary", remedy=nearest(wanted, able)
        )
    if wanted not in able:
        raise RecipeError(
            f"more of '{wanted}' is neither better nor worse",
            where="evaluate.primary",
            remedy=f"choose one of: {', '.join(able)}",
        )


def choose_primary(figures: Mapping[str, Figures], wanted: str | None = None) -> str | None:
    """The figure wanted, or the first of PREFERRED that somebody has; None where nobody has it, or any.

    The one wanted can be missing though `check_primary` let it pass, as where the judge could not be reached.
    """
    known = _with_values(figures)
    if wanted is not None:
        return wanted if wanted in known else None
    return next((name for start in PREFERRED for name in known if name == start or _is_win_rate(name, start)), None)


def values_of(figures: Mapping[str, Figures], figure: str) -> dict[str, list[float | None]]:
    """The figure's values of each candidate that has any.

    A win rate is against the first candidate, which has none of its own: against itself it ties, a half.
    """
    found = {name: own[figure] for name, own in figures.items() if _says_something(own.get(figure, ()))}
    first = next(iter(figures))
    if figure.startswith("win rate") and found and first not in found:
        found = {first: [0.5] * len(next(iter(found.values()))), **found}
    return found


def _with_values(figures: Mapping[str, Figures]) -> list[str]:
    return list(
        dict.fromkeys(name for own in figures.values() for name, values in own.items() if _says_something(values))
    )


def _says_something(values: Iterable[float | None]) -> bool:
    return any(value is not None for value in values)


def _is_win_rate(name: str, start: str) -> bool:
    """Of a judge; that under a reward model only repeats its score."""
    return start.startswith("win rate") and name.startswith(start) and name.endswith("judge")
