"""Judgments in words, as spreadsheets hold them: {"prompt", "completion_a", "completion_b", "preference"}.

The five steps are those of the Tulu evaluation (a-is-better ... b-is-better); how strong a preference is, is not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns, votes
from stages.formats.records import Comparison

NAME, KINDS = "judged", ("comparison",)
KEYS = (
    "prompt, completion_a, completion_b (or response_a, response_b); preference, a or b or tie; annotator?, evaluator?"
)
STEPS = {
    "a-is-better": votes.FIRST,
    "a-is-slightly-better": votes.FIRST,
    "tie": votes.TIE,
    "b-is-slightly-better": votes.SECOND,
    "b-is-better": votes.SECOND,
    "a": votes.FIRST,
    "b": votes.SECOND,
}
NAMES = ("completion", "response")


def matches(row: Mapping[str, Any]) -> bool:
    """Two answers called a and b, and a preference."""
    return "prompt" in row and "preference" in row and any(f"{name}_a" in row and f"{name}_b" in row for name in NAMES)


def convert(row: Mapping[str, Any]) -> Comparison:
    """The answers in the order a, b."""
    name = next((name for name in NAMES if f"{name}_a" in row), NAMES[0])
    answers = [turns.read_completion(rules.need(row, key), key) for key in (f"{name}_a", f"{name}_b")]
    said = rules.need(row, "preference")
    if said is None or said == "":
        raise DataError("is empty: nobody judged this row", where="preference", remedy="leave the row out")
    ranks = votes.verdict(said.lower() if isinstance(said, str) else said, STEPS, "preference")
    known = {**row, "annotator": row.get("annotator", row.get("evaluator"))}
    return votes.vote(known, turns.read_prompt(rules.need(row, "prompt")), answers, ranks)
