"""Layouts that are known and have no reader: what each of them is, and what to do with it instead."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
RATED = re.compile(r"response|completion|output|system_output|simplification")
RATING = re.compile(r"ratings?|scores?|helpfulness|overall(_score)?")


@dataclass(frozen=True)
class Refusal:
    """Why rows of a layout are not read."""

    matches: Callable[[Row], bool]
    problem: str
    remedy: str


def why(row: Row) -> Refusal | None:
    """The first refusal that fits a row which is in no known format."""
    return next((refusal for refusal in REFUSALS if refusal.matches(row)), None)


def _has(*keys: str) -> Callable[[Row], bool]:
    return lambda row: all(key in row for key in keys)


def _is_argilla(row: Row) -> bool:
    return "_server_id" in row or _has("fields", "responses", "suggestions")(row)


def _is_rated(row: Row) -> bool:
    return any(RATED.fullmatch(str(key)) for key in row) and any(RATING.fullmatch(str(key)) for key in row)


def _is_listing(row: Row) -> bool:
    """An object of objects: names with what is said of each, such as an ontology of intents and slots."""
    return bool(row) and all(isinstance(value, Mapping) for value in row.values())


def _holds_tables(row: Row) -> bool:
    return any(isinstance(value, list) and value and isinstance(value[0], (dict, list)) for value in row.values())


def _is_choice_in_words(row: Row) -> bool:
    return "winner" in row and sum(str(key).endswith(("_simplification", "_response", "_answer")) for key in row) >= 2


REFUSALS = (
    Refusal(
        _has("$schema"),
        "is a JSON Schema, which describes answers and holds no rows",
        "give it as json_schema of a task (`tasks: {name: {json_schema: ...}}`), and rows as the data",
    ),
    Refusal(
        _has("annotations", "data"),
        "is an export of Label Studio: annotators' work on tasks, not yet rankings",
        "import it with `posttune collect import RECIPE FILE`; the rows that it writes can be used here",
    ),
    Refusal(
        _is_argilla,
        "is an export of Argilla: annotators' work on records, not yet rankings",
        "import it with `posttune collect import RECIPE FILE`; the rows that it writes can be used here",
    ),
    Refusal(
        _has("turns", "category"),
        "holds evaluation questions of several user turns (MT-Bench), between which the model is to answer",
        "use them for evaluation with their own tool; they have no answers to learn from",
    ),
    Refusal(
        _is_choice_in_words,
        "holds votes whose winner is given by a name of its own",
        "write prompt, completion_a, completion_b and a preference of a, b or tie (format 'judged')",
    ),
    Refusal(
        _is_rated,
        "holds one rated answer a row; a comparison needs the answers to a prompt in one row",
        "gather the rows of each prompt into `completions` and `scores`, or map the answer to `completion`",
    ),
    Refusal(
        _is_listing,
        "is one JSON object of named descriptions (an ontology), and holds no rows",
        "give it as part of a prompt or a task, and rows as the data",
    ),
    Refusal(
        _holds_tables,
        "holds lists where a row's values are expected",
        "if they are the rows, name their key under `table`, or write one JSON object a line",
    ),
)
