"""What a program says about one answer."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contract import TaskConfig
from pipeline.errors import RecipeError
from stages.evaluate.checks.json_schema import INVALID, parse
from stages.evaluate.checks.task import check_answer, check_task

SCHEMA = {
    "type": "object",
    "properties": {
        "category": {"enum": ["order", "refund"]},
        "count": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["category"],
    "additionalProperties": False,
}
TASK = TaskConfig(json_schema=SCHEMA, labels={"category": ("order", "refund"), "urgency": ("low", "high")})
WANTED = {"category": "order", "urgency": "high"}


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"category": "order"}', 1),
        (' {"category": "order", "tags": ["a", "b"]}\n', 1),
        ('{"category": "order", "tags": ["a", 1]}', 0),
        ('{"category": "other"}', 0),
        ('{"category": "order", "extra": 1}', 0),
        ('{"category": "order", "count": "1"}', 0),
        ('{"category": "order", "count": true}', 0),
        ('{"category": "order", "count": NaN}', 0),
        ("{}", 0),
        ('["order"]', 0),
        ("null", 0),
        ("", 0),
        ('{"category": "order"', 0),
        ('Sure! {"category": "order"}', 0),
        ('```json\n{"category": "order"}\n```', 0),
        ('{"category": "order"} and more', 0),
        ("[" * 100_000, 0),
    ],
)
def test_valid_json_is_told(text: str, valid: float) -> None:
    assert check_answer(text, None, TASK) == {"valid_json": valid}


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", '{"a": -Infinity}', "9" * 5000])
def test_what_json_does_not_know_is_invalid(text: str) -> None:
    assert parse(text) is INVALID


@pytest.mark.parametrize(
    ("text", "category", "urgency"),
    [
        ('{"category": "order", "urgency": "high"}', 1, 1),
        ('{"category": "order", "urgency": "low"}', 1, 0),
        ('{"category": "order"}', 1, 0),
        ('{"category": ["order"], "urgency": {"high": 1}}', 0, 0),
        ('{"category": "Order", "urgency": null}', 0, 0),
        ('{"answer": {"category": "order", "urgency": "high"}}', 0, 0),
        ('["category", "order"]', 0, 0),
        ("order high", 0, 0),
    ],
)
def test_labels_are_told(text: str, category: float, urgency: float) -> None:
    found = check_answer(text, WANTED, TASK)
    assert (found["label_accuracy/category"], found["label_accuracy/urgency"]) == (category, urgency)
    assert found["label_accuracy"] == (category + urgency) / 2


def test_reference_may_be_json_text() -> None:
    found = check_answer('{"category": "order"}', '{"category": "order"}', TASK)
    assert found == {"valid_json": 1, "label_accuracy/category": 1, "label_accuracy": 1}


@pytest.mark.parametrize("reference", [None, "On its way.", [1], {"reply": "x"}])
def test_no_label_is_judged_when_the_reference_has_none(reference: Any) -> None:
    assert check_answer('{"category": "order"}', reference, TASK).keys() == {"valid_json"}


def test_nothing_is_checked_when_the_task_says_nothing() -> None:
    assert check_answer("{}", WANTED, TaskConfig()) == {}


def test_schema_that_is_none_is_refused_by_its_place() -> None:
    with pytest.raises(RecipeError) as caught:
        check_task("desk", TaskConfig(json_schema={"properties": {"a": {"type": "nothing"}}}))
    assert caught.value.where == "tasks.desk.json_schema.properties.a.type"


def test_answer_nested_past_all_reading_is_not_valid() -> None:
    itself = {"type": "array", "items": {"$ref": "#"}}
    task = TaskConfig(json_schema=itself)
    assert check_answer("[[[]]]", None, task) == {"valid_json": 1}
    assert check_answer("[" * 900 + "]" * 900, None, task) == {"valid_json": 0}
