"""SQuAD's layout: an article {"paragraphs": [{"context", "qas": [{"question", "answers"}]}]}, or a flat row of it.

Every question is one instruction: the paragraph, an empty line and the question, answered by the first answer given.
Named in a recipe, `squad_questions` asks without the paragraph, and `squad_paragraphs` reads the paragraphs alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules
from stages.formats.records import Instruction

NAME, KINDS = "squad", ("instruction",)
KEYS = "paragraphs of context and qas; or context, question, answers of text"


@dataclass(frozen=True)
class Asked:
    """One question as the row holds it, the passage that answers it, and where in the row it stands."""

    row: Mapping[str, Any]
    context: Any
    place: str

    def field(self, name: str) -> str:
        """The place of one of its keys."""
        return f"{self.place}.{name}" if self.place else name


def matches(row: Mapping[str, Any]) -> bool:
    """An article's paragraphs, or a question with its paragraph."""
    return "paragraphs" in row or all(key in row for key in ("context", "question", "answers"))


def convert(row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """The questions in the order of the row, each behind its paragraph."""
    return tuple(
        instruction(asked, f"{rules.filled(asked.context, asked.field('context'))}\n\n{question(asked)}")
        for asked in questions(row)
    )


def questions(row: Mapping[str, Any]) -> list[Asked]:
    """The row's questions, at least one."""
    if "paragraphs" not in row:
        return [Asked(row, rules.need(row, "context"), "")]
    found: list[Asked] = []
    for place, paragraph in paragraphs(row):
        context = rules.need(paragraph, "context", place)
        for j, asked in enumerate(rules.listed(rules.need(paragraph, "qas", place), f"{place}.qas")):
            found.append(Asked(_object(asked, f"{place}.qas[{j}]"), context, f"{place}.qas[{j}]"))
    if not found:
        raise DataError("no question in it", where="paragraphs", remedy="leave the article out")
    return found


def paragraphs(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """An article's paragraphs with their places."""
    for i, paragraph in enumerate(rules.listed(rules.need(row, "paragraphs"), "paragraphs")):
        yield f"paragraphs[{i}]", _object(paragraph, f"paragraphs[{i}]")


def question(asked: Asked) -> str:
    """The question's own text."""
    return rules.filled(rules.need(asked.row, "question", asked.place), asked.field("question"))


def instruction(asked: Asked, prompt: str) -> Instruction:
    """The question, worded as `prompt`, answered by the first answer; all of them are its references."""
    texts = _texts(rules.need(asked.row, "answers", asked.place), asked.field("answers"))
    if not texts:
        raise DataError(
            "no answer is given; one is needed",
            where=asked.field("answers"),
            remedy="leave the question out, or answer it",
        )
    answers = [rules.filled(text, place) for place, text in texts]
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answers[0]}]
    return replace(rules.instruction(asked.row, turns), references=rules.references(answers))


def _texts(answers: Any, field: str) -> list[tuple[str, Any]]:
    """The texts of [{"text"}, ...] or, as tables hold it, of {"text": [...]}, each with its place."""
    if isinstance(answers, Mapping):
        texts = rules.listed(rules.need(answers, "text", field), f"{field}.text")
        return [(f"{field}.text[{i}]", text) for i, text in enumerate(texts)]
    places = [(f"{field}[{i}]", given) for i, given in enumerate(rules.listed(answers, field))]
    return [(f"{place}.text", rules.need(_object(given, place), "text", place)) for place, given in places]


def _object(value: Any, field: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(f"is {rules.describe(value)}; an object is allowed", where=field, remedy="mend the row")
    return value
