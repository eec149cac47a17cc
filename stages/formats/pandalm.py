"""PandaLM's labels: {"instruction", "input"?, "response1", "response2", "annotator1", "annotator2", ...}.

Each annotator's column holds 1 or 2 for the better response, 0 for a tie, and gives a ranking of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import alpaca, rules, turns, votes
from stages.formats.records import Comparison, Ranking

NAME, KINDS = "pandalm", ("comparison",)
KEYS = "instruction or prompt, input?; response1, response2; annotator1, annotator2, ... (1 or 2 is better, 0 a tie)"
LABELS = {"0": votes.TIE, "1": votes.FIRST, "2": votes.SECOND}
COLUMN = re.compile(r"annotator_?\d+")


def matches(row: Mapping[str, Any]) -> bool:
    """Two responses and at least one annotator's column."""
    return "response1" in row and "response2" in row and bool(_columns(row))


def convert(row: Mapping[str, Any]) -> Comparison:
    """The responses in the order of the row; an annotator whose cell is empty did not judge."""
    prompt = turns.read_prompt(row["prompt"]) if "prompt" in row else [{"role": "user", "content": alpaca.asked(row)}]
    answers = [rules.filled(rules.need(row, key), key) for key in ("response1", "response2")]
    columns = _columns(row)
    if not columns:
        raise DataError("no column of an annotator", where="annotator1", remedy="add it, or map it")
    rankings = [
        Ranking(column, votes.verdict(row[column], LABELS, column))
        for column in columns
        if row[column] not in (None, "")
    ]
    return rules.comparison(row, prompt, answers, rankings)


def _columns(row: Mapping[str, Any]) -> list[str]:
    return [key for key in row if isinstance(key, str) and COLUMN.fullmatch(key)]
