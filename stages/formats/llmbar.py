"""LLMBar: {"input", "output_1", "output_2", "label"}; the label, 1 or 2, is the output that follows the instruction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules, turns, votes
from stages.formats.records import Comparison

NAME, KINDS = "llmbar", ("comparison",)
KEYS = "input, output_1, output_2; label, 1 or 2 for the better"


def matches(row: Mapping[str, Any]) -> bool:
    """Two outputs."""
    return all(key in row for key in ("input", "output_1", "output_2"))


def convert(row: Mapping[str, Any]) -> Comparison:
    """The outputs in the order of the row."""
    prompt = turns.read_prompt(rules.need(row, "input"), "input")
    answers = [rules.filled(rules.need(row, key), key) for key in ("output_1", "output_2")]
    ranks = votes.verdict(rules.need(row, "label"), {"1": votes.FIRST, "2": votes.SECOND}, "label")
    return votes.vote(row, prompt, answers, ranks)
