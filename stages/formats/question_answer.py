"""Question and answer, as GSM8K has them: {"question", "answer"}, both text. The answer is kept with its working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules
from stages.formats.records import Instruction

NAME, KINDS = "question_answer", ("instruction",)
KEYS = "question, answer"
OTHERS = ("context", "answers", "prompt", "messages", "choices", "options")  # with these a row is something else


def matches(row: Mapping[str, Any]) -> bool:
    """Both columns, and nothing that the question would be incomplete without."""
    return "question" in row and "answer" in row and not any(key in row for key in OTHERS)


def convert(row: Mapping[str, Any]) -> Instruction:
    """The question's turn and the answer's."""
    asked = {"role": "user", "content": rules.filled(rules.need(row, "question"), "question")}
    said = {"role": "assistant", "content": rules.filled(rules.need(row, "answer"), "answer")}
    return rules.instruction(row, [asked, said])
