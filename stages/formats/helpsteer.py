"""HelpSteer's preferences, from -3 (the first response is much better) to 3 (the second is), 0 = about the same.

HelpSteer2: {"prompt", "response_1", "response_2", "preference_strength"}; HelpSteer3: {"context", "response1",
"response2", "overall_preference"}. Where the row lists its annotators' own preferences, each is a ranking of its own;
the data does not say who they were.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns, votes
from stages.formats.records import Comparison, Message, Ranking

NAME, KINDS = "helpsteer", ("comparison",)
KEYS = (
    "prompt or context; response_1, response_2, preference_strength (-3: the first is much better, 3: the second); "
    "or response1, response2, overall_preference"
)
OVERALL = ("preference_strength", "overall_preference")
SEVERAL = {"three_most_similar_preferences": "strength", "individual_preference": "score"}  # column -> its key
TURN = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")


def matches(row: Mapping[str, Any]) -> bool:
    """Two responses and how strongly one is preferred."""
    return any(key in row for key in OVERALL) and ("response_1" in row or "response1" in row)


def convert(row: Mapping[str, Any]) -> Comparison:
    """The responses in the order of the row."""
    gap = "_" if "response_1" in row else ""
    answers = [turns.read_completion(rules.need(row, key), key) for key in (f"response{gap}1", f"response{gap}2")]
    prompt = _prompt(row)
    overall = next((key for key in OVERALL if key in row), OVERALL[0])
    rankings = _several(row) or [Ranking(rules.UNNAMED, votes.lean(rules.need(row, overall), 3, overall))]
    return rules.comparison(row, prompt, answers, rankings)


def _prompt(row: Mapping[str, Any]) -> list[Message]:
    if "context" in row:
        return turns.read_prompt(row["context"], "context")
    asked = rules.need(row, "prompt")
    if not isinstance(asked, str) or not TURN.search(asked):
        return turns.read_prompt(asked)
    first, *rest = TURN.split(asked)  # several turns in one text: the user begins
    said = [("User", first), *zip(rest[::2], rest[1::2], strict=True)]
    while said and not said[-1][1].strip():  # left open for the answer
        said.pop()
    return [{"role": turns.ROLES[speaker.lower()], "content": rules.text(text, "prompt")} for speaker, text in said]


def _several(row: Mapping[str, Any]) -> list[Ranking]:
    column = next((name for name in SEVERAL if row.get(name)), None)
    if column is None:
        return []
    rankings = []
    for index, given in enumerate(rules.listed(row[column], column)):
        place = f"{column}[{index}]"
        if not isinstance(given, Mapping):
            raise DataError(f"is {rules.describe(given)}; an object is allowed", where=place, remedy="mend the row")
        strength = rules.need(given, SEVERAL[column], place)
        rankings.append(Ranking(f"{rules.UNNAMED} {index + 1}", votes.lean(strength, 3, f"{place}.{SEVERAL[column]}")))
    return rankings
