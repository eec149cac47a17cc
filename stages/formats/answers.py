"""One prompt with several good answers, none better than another: {"prompt", "answers": [text, ...]}.

Every answer is one instruction, for training on human rewrites or references. Ranked answers are `ranked` or `nectar`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.records import Instruction, part_of

NAME, KINDS = "answers", ("instruction",)
KEYS = "prompt; answers, a list of texts that are all good"


def matches(row: Mapping[str, Any]) -> bool:
    """A prompt and a list of texts."""
    given = row.get("answers")
    return "prompt" in row and isinstance(given, list) and all(isinstance(answer, str) for answer in given)


def convert(row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """A record an answer."""
    prompt = turns.read_prompt(rules.need(row, "prompt"))
    given = rules.listed(rules.need(row, "answers"), "answers")
    if not given:
        raise DataError("is an empty list; one answer is needed", where="answers", remedy="leave the row out")
    talks = [
        [*prompt, {"role": "assistant", "content": rules.filled(value, f"answers[{index}]")}]
        for index, value in enumerate(given)
    ]
    made = [rules.instruction(part_of(row, index, len(talks)), talk) for index, talk in enumerate(talks)]
    return tuple(replace(record, references=rules.references(given)) for record in made)
