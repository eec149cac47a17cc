"""Whether questions hold what their tasks' checks need: what an evaluation should say before it is believed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from pipeline.contract import TaskConfig
from stages.evaluate.checks import instructions
from stages.evaluate.checks.json_fields import as_object
from stages.evaluate.checks.labels import label_in
from stages.evaluate.checks.references import texts_of
from stages.evaluate.checks.task import CHECKS

NEEDS = {
    "exact": "a reference text",
    "f1": "a reference text",
    "rouge": "a reference text",
    "fields": "a reference that is a JSON object",
    "number": "a reference with a number in it",
    "instructions": "a reference with IFEval's instruction_id_list",
    "supported": "documents",
}


class Asked(Protocol):
    """What is read of a question."""

    @property
    def id(self) -> str: ...
    @property
    def reference(self) -> Any: ...
    @property
    def task(self) -> TaskConfig: ...
    @property
    def documents(self) -> Any: ...


def misfits(questions: Sequence[Asked]) -> list[str]:
    """One message for each way in which the questions do not fit their tasks; none where they do."""
    return [*_lacking(questions), *_outside(questions), *_unread(questions), *_unchecked(questions)]


def _lacking(questions: Sequence[Asked]) -> Iterable[str]:
    """A check that applies to no question, or a label that no reference has, measures nothing."""
    for name in CHECKS:
        asked = [q for q in questions if name in q.task.checks]
        held = (q.documents if name == "supported" else q.reference for q in asked)
        if asked and name != "instructions" and not any(CHECKS[name]("", about) for about in held):
            yield f"none of the {len(asked)} questions has what the check '{name}' needs: {NEEDS[name]}"
    rules = [instructions.rules_of(q.reference) for q in questions if "instructions" in q.task.checks]
    if rules and not any(rules):
        yield f"none of the {len(rules)} questions has what the check 'instructions' needs: {NEEDS['instructions']}"
    for field in dict.fromkeys(field for q in questions for field in q.task.labels):
        asked = [q for q in questions if field in q.task.labels]
        if not any(field in (as_object(q.reference) or {}) for q in asked):
            yield f"none of the {len(asked)} references has the label field '{field}'"
    whole = [q for q in questions if q.task.label_set is not None]
    if whole and not any(isinstance(q.reference, str) for q in whole):
        yield f"none of the {len(whole)} questions has what label_set needs: a reference text"


def _outside(questions: Sequence[Asked]) -> Iterable[str]:
    """No answer is right where the reference is outside the set."""
    wrong: dict[str, list[tuple[str, Any]]] = {}
    for question in questions:
        task, reference = question.task, question.reference
        if task.label_set is not None and isinstance(reference, str) and label_in(reference, task.label_set) is None:
            wrong.setdefault("label_set", []).append((question.id, reference))
        for field, allowed in task.labels.items():
            held = as_object(reference) or {}
            if field in held and held[field] not in allowed:
                wrong.setdefault(f"labels.{field}", []).append((question.id, held[field]))
    for place, found in wrong.items():
        (first, label), number = found[0], len(found)
        what = "reference is" if number == 1 else "references are"
        yield f"{number} {what} not among the task's {place}, such as {str(label)[:40]!r} of question {first}"


def _unread(questions: Sequence[Asked]) -> Iterable[str]:
    """rouge-score keeps a to z and 0 to 9, and so gives 0 for every answer in another script."""
    asked = [text for q in questions if "rouge" in q.task.checks for text in texts_of(q.reference)]
    blind = sum(bool(text.strip()) and not re.search("[a-z0-9]", text.lower()) for text in asked)
    if blind:
        yield f"'rouge' reads a to z and 0 to 9 only, and {blind} of {len(asked)} references have none of these"


def _unchecked(questions: Sequence[Asked]) -> Iterable[str]:
    """Rules that are left out, by why."""
    why: dict[str, list[str]] = {}
    for question in questions:
        if "instructions" in question.task.checks:
            for name, given in instructions.rules_of(question.reference):
                if reason := instructions.obstacle(name, given):
                    why.setdefault(reason, []).append(name)
    for reason, names in why.items():
        kinds = ", ".join(sorted(set(names)))
        yield f"{len(names)} instructions are not checked ({kinds}): {reason}"
