"""SQuAD's layout: an article {"paragraphs": [{"context", "qas": [{"question", "answers"}]}]}, or a flat row of it.

Every question is one instruction: the paragraph, an empty line and the question, answered by the first answer given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules
from stages.formats.records import Instruction

NAME, KINDS = "squad", ("instruction",)
KEYS = "paragraphs of context and qas; or context, question, answers of text"


def matches(row: Mapping[str, Any]) -> bool:
    """An article's paragraphs, or a question with its paragraph."""
    return "paragraphs" in row or all(key in row for key in ("context", "question", "answers"))


def convert(row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """The questions in the order of the row."""
    if "paragraphs" not in row:
        return (_question(row, rules.need(row, "context"), ""),)
    found: list[Instruction] = []
    for i, paragraph in enumerate(rules.listed(row["paragraphs"], "paragraphs")):
        place = f"paragraphs[{i}]"
        held = _object(paragraph, place)
        context = rules.need(held, "context", place)
        for j, asked in enumerate(rules.listed(rules.need(held, "qas", place), f"{place}.qas")):
            found.append(_question(_object(asked, f"{place}.qas[{j}]"), context, f"{place}.qas[{j}]"))
    if not found:
        raise DataError("no question in it", where="paragraphs", remedy="leave the article out")
    return tuple(found)


def _question(held: Mapping[str, Any], context: Any, place: str) -> Instruction:
    dot = f"{place}." if place else ""
    passage = rules.filled(context, f"{dot}context")
    question = rules.filled(rules.need(held, "question", place), f"{dot}question")
    texts = _texts(rules.need(held, "answers", place), f"{dot}answers")
    if not texts:
        raise DataError(
            "no answer is given; one is needed", where=f"{dot}answers", remedy="leave the question out, or answer it"
        )
    answer = rules.filled(texts[0], f"{dot}answers[0]")
    return rules.instruction(
        held,
        [{"role": "user", "content": f"{passage}\n\n{question}"}, {"role": "assistant", "content": answer}],
    )


def _texts(answers: Any, field: str) -> Sequence[Any]:
    """The texts of [{"text"}, ...] or, as tables hold it, of {"text": [...]}."""
    if isinstance(answers, Mapping):
        return rules.listed(rules.need(answers, "text", field), f"{field}.text")
    given = rules.listed(answers, field)
    return [rules.need(_object(a, f"{field}[{i}]"), "text", f"{field}[{i}]") for i, a in enumerate(given)]


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"is {rules.describe(value)}; an object is allowed", where=field, remedy="mend the row")
    return value
