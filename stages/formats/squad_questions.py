"""SQuAD's layout without the paragraphs: every question alone, to be answered from memory or from what is retrieved.

The same rows as `squad`, so a recipe names it: `format: squad_questions`. The split is by the question, so training and
held-out questions are about the same paragraphs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import squad
from stages.formats.records import Instruction

NAME, KINDS = "squad_questions", ("instruction",)
KEYS = f"{squad.KEYS}; only where a recipe names it"


def matches(row: Mapping[str, Any]) -> bool:
    """Never: the rows are `squad` too, which keeps what the answer is read from."""
    return False


def convert(row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """The questions in the order of the row."""
    return tuple(squad.instruction(asked, squad.question(asked)) for asked in squad.questions(row))
