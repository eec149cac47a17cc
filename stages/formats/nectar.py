"""Nectar: {"prompt", "answers": [{"answer", "rank"}, ...]}, rank 1 = best; the prompt is text or an HH transcript."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.records import Comparison

NAME, KINDS = "nectar", ("comparison",)
KEYS = "prompt, answers of answer and rank (1 is best)"


def matches(row: Mapping[str, Any]) -> bool:
    """A prompt and a list of ranked answers (data sets of questions have an "answers" of another shape)."""
    answers = row.get("answers")
    return (
        "prompt" in row and isinstance(answers, list) and any(isinstance(a, Mapping) and "answer" in a for a in answers)
    )


def convert(row: Mapping[str, Any]) -> Comparison:
    """The answers in the order of the row."""
    answers = rules.listed(rules.need(row, "answers"), "answers")
    for index, answer in enumerate(answers):
        if not isinstance(answer, Mapping):
            raise DataError(
                f"is {rules.describe(answer)}; an object with answer and rank is allowed",
                where=f"answers[{index}]",
                remedy='write {"answer": "...", "rank": 1}',
            )
    completions = [
        rules.filled(rules.need(a, "answer", f"answers[{i}]"), f"answers[{i}].answer") for i, a in enumerate(answers)
    ]
    ranks = rules.ranked(
        row.get("annotator"),
        [rules.need(a, "rank", f"answers[{i}]") for i, a in enumerate(answers)],
        len(answers),
        "rank",
    )
    return rules.comparison(row, turns.read_prompt(rules.need(row, "prompt")), completions, [ranks])
