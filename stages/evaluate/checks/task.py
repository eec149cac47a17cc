"""What a program can say about one answer. Each check is a file beside this one and a line in `CHECKS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.contract import TaskConfig
from pipeline.errors import RecipeError
from stages.evaluate.checks import instructions
from stages.evaluate.checks.json_fields import check_fields
from stages.evaluate.checks.json_schema import check_schema, is_valid, parse
from stages.evaluate.checks.labels import check_label, check_label_fields, check_labels_allowed
from stages.evaluate.checks.references import check_exact, check_f1, check_number, check_rouge
from stages.evaluate.checks.support import check_support

CHECKS: Mapping[str, Callable[[str, Any], dict[str, float]]] = {
    "exact": check_exact,
    "f1": check_f1,
    "rouge": check_rouge,
    "fields": check_fields,
    "number": check_number,
    "instructions": instructions.check_instructions,
    "supported": check_support,
}


def check_answer(text: str, reference: Any, task: TaskConfig, documents: Any = ()) -> dict[str, float]:
    """Every figure that the task asks for, each from 0 to 1.

    Which figures there are depends on the task, the reference and the documents, never on the answer.
    """
    results: dict[str, float] = {}
    if task.json_schema is not None:
        results["valid_json"] = float(is_valid(parse(text), task.json_schema))
    results |= check_label_fields(text, reference, task.labels)
    if task.label_set is not None:
        results |= check_label(text, reference, task.label_set)
    for name in task.checks:
        results |= CHECKS[name](text, documents if name == "supported" else reference)
    return results


def check_task(name: str, task: TaskConfig) -> None:
    """RecipeError if the task asks for nothing, or for what cannot be checked: no schema, no labels, no package."""
    place = f"tasks.{name}"
    if task == TaskConfig():
        raise RecipeError(
            "says nothing that could be checked",
            where=place,
            remedy="add json_schema, labels, label_set or checks, or leave the task out",
        )
    if task.json_schema is not None:
        check_schema(task.json_schema, f"{place}.json_schema")
    for field, allowed in task.labels.items():
        check_labels_allowed(allowed, f"{place}.labels.{field}")
    if task.label_set is not None:
        check_labels_allowed(task.label_set, f"{place}.label_set")
        if task.json_schema is not None or task.labels:
            raise RecipeError(
                "an answer that is a label is no JSON",
                where=f"{place}.label_set",
                remedy="keep label_set, or json_schema and labels",
            )
    if "instructions" in task.checks:
        instructions.check_installed(f"{place}.checks")
