"""Answers that are labels, or JSON with labels in its fields: each alone, and all together.

A label that is the whole answer is read as a careful program would read it: case does not count, nor do white space,
quotes, asterisks and full stops around it. Anything more ("The label is refund") is no label. A label in a field of a
JSON answer is exact.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.contract import Table, TaskConfig
from pipeline.errors import RecipeError
from stages.evaluate.checks.json_fields import as_object, same

AROUND = " \t\r\n.\"'`*"
WHOLE = "the answer"  # the name of the label that is no field's
NONE = "(none of them)"
MATRIX, SHOWN = 12, 20  # labels up to which a confusion is a matrix; else so many pairs are listed


def folded(text: str) -> str:
    """A label without what does not count."""
    return text.strip(AROUND).strip().casefold()


def label_in(text: str, label_set: Sequence[str]) -> str | None:
    """The label of the set that the whole text is; None if it is none."""
    given = folded(text)
    return next((label for label in label_set if folded(label) == given), None)


def check_label(text: str, reference: Any, label_set: Sequence[str]) -> dict[str, float]:
    """`in_label_set`; `label_accuracy` where the reference is a text."""
    found = {"in_label_set": float(label_in(text, label_set) is not None)}
    if isinstance(reference, str):
        found["label_accuracy"] = float(folded(text) == folded(reference))
    return found


def check_label_fields(text: str, reference: Any, labels: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """`label_accuracy/<field>` of each field that the reference has, and `label_accuracy`, their mean.

    A field is right when it equals the reference's; an answer that is no JSON object has none right.
    """
    wanted = (as_object(reference) or {}) if labels else {}
    given = (as_object(text) or {}) if wanted else {}
    right = {name: float(name in given and same(given[name], wanted[name])) for name in labels if name in wanted}
    results = {f"label_accuracy/{name}": value for name, value in right.items()}
    return results | ({"label_accuracy": sum(right.values()) / len(right)} if right else {})


def check_labels_allowed(allowed: Sequence[str], place: str) -> None:
    """RecipeError unless there are two labels at least, none of them blank and no two alike."""
    if len(allowed) < 2:
        found = f"'{allowed[0]}' alone" if allowed else "no label"
        raise RecipeError(f"holds {found}; two are needed to tell apart", where=place, remedy="list every label")
    known: dict[str, str] = {}
    for label in allowed:
        key = folded(label)
        if not key:
            raise RecipeError(f"{label!r} is no label", where=place, remedy="give it letters or digits")
        if key in known:
            raise RecipeError(
                f"'{known[key]}' and '{label}' are one label: case, quotes and full stops around it do not count",
                where=place,
                remedy="keep one of them",
            )
        known[key] = label


@dataclass
class Labels:
    """One label of every question that has it: the one wanted, and what a candidate gave; None: none of the set."""

    wanted: list[str] = field(default_factory=list)
    given: list[str | None] = field(default_factory=list)


def read_labels(answers: Iterable[tuple[str, Any, TaskConfig]]) -> dict[str, Labels]:
    """The labels of (text, reference, task) triples, by the answer's field, or `WHOLE`.

    Candidates' labels are in the same order for the same questions, so that they can be compared in pairs.
    """
    found: dict[str, Labels] = {}
    for text, reference, task in answers:
        if task.label_set is not None and isinstance(reference, str):
            wanted = label_in(reference, task.label_set) or reference
            _add(found.setdefault(WHOLE, Labels()), wanted, label_in(text, task.label_set))
        held = (as_object(reference) or {}) if task.labels else {}
        answer = (as_object(text) or {}) if held else {}
        for name, allowed in task.labels.items():
            if isinstance(held.get(name), str):
                given = answer.get(name)
                _add(found.setdefault(name, Labels()), held[name], given if given in allowed else None)
    return found


def _add(labels: Labels, wanted: str, given: str | None) -> None:
    labels.wanted.append(wanted)
    labels.given.append(given)


def confusion(title: str, labels: Labels) -> Table:
    """Which labels were taken for which: a matrix of counts, or of many labels the pairs most often confused."""
    names = sorted(set(labels.wanted) | {label for label in labels.given if label is not None})
    counts = Counter(zip(labels.wanted, labels.given, strict=True))
    totals = Counter(labels.wanted)
    if len(names) <= MATRIX:
        rows = [[name, *(counts[name, given] for given in (*names, None))] for name in names if totals[name]]
        return Table(title, ["wanted", *names, NONE], rows, "Questions, by the label wanted and the one given.")
    wrong = sorted(
        (pair for pair in counts if pair[0] != pair[1]), key=lambda pair: (-counts[pair], pair[0], pair[1] or "")
    )
    rows = [
        [wanted, given or NONE, counts[wanted, given], f"{counts[wanted, given] / totals[wanted]:.0%}"]
        for wanted, given in wrong[:SHOWN]
    ]
    num_wrong = sum(counts[pair] for pair in wrong)
    shown = sum(counts[pair] for pair in wrong[:SHOWN])
    note = f"The pairs most often confused: {shown} of {num_wrong} wrong answers to {len(labels.wanted)} questions."
    return Table(title, ["wanted", "given", "questions", "of those that want it"], rows, note)
