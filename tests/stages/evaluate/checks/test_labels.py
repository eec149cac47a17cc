"""Labels alone and all together, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contract import TaskConfig
from pipeline.errors import RecipeError
from stages.evaluate.checks.labels import NONE, WHOLE, Labels, confusion, read_labels
from stages.evaluate.checks.task import check_answer, check_task

BANK = TaskConfig(label_set=("card_arrival", "lost card", "Refund?"))
JSON = TaskConfig(labels={"topic": ("order", "fees"), "tone": ("calm", "angry")})


@pytest.mark.parametrize(
    ("text", "right", "in_set"),
    [
        ("card_arrival", 1, 1),
        (" Card_Arrival.\n", 1, 1),
        ('"card_arrival"', 1, 1),
        ("**card_arrival**.", 1, 1),
        ("lost card", 0, 1),
        ("refund?", 0, 1),
        ("refund", 0, 0),
        ("card arrival", 0, 0),
        ("The label is card_arrival", 0, 0),
        ("card_arrival, lost card", 0, 0),
        ("", 0, 0),
    ],
)
def test_label_is_the_whole_answer(text: str, right: float, in_set: float) -> None:
    assert check_answer(text, "card_arrival", BANK) == {"label_accuracy": right, "in_label_set": in_set}


def test_without_a_reference_only_the_set_is_checked() -> None:
    assert check_answer("lost card", None, BANK) == {"in_label_set": 1}


def test_labels_are_read_from_whole_answers_and_from_fields() -> None:
    rows: list[tuple[str, Any, TaskConfig]] = [
        ("LOST CARD", "lost card", BANK),
        ("whatever", "card_arrival", BANK),
        ('{"topic": "fees", "tone": "loud"}', {"topic": "order", "tone": "calm"}, JSON),
        ("no json", '{"topic": "fees"}', JSON),
        ('{"topic": ["fees"]}', {"topic": "fees"}, JSON),
        ("lost card", None, BANK),
    ]
    assert read_labels(rows) == {
        WHOLE: Labels(["lost card", "card_arrival"], ["lost card", None]),
        "topic": Labels(["order", "fees", "fees"], ["fees", None, None]),
        "tone": Labels(["calm"], [None]),
    }


def test_confusion_of_few_labels_is_a_matrix() -> None:
    table = confusion("Confusion", Labels(["a", "a", "b", "b", "b"], ["a", "b", "b", None, "c"]))
    assert table.columns == ["wanted", "a", "b", "c", NONE]
    assert table.rows == [["a", 1, 1, 0, 0], ["b", 0, 1, 1, 1]]


def test_confusion_of_many_labels_lists_the_most_confused_pairs() -> None:
    names = [f"label_{n:02}" for n in range(30)]
    wanted = [name for name in names for _ in range(4)]
    given: list[str | None] = list(wanted)
    given[0:3] = ["label_05"] * 3
    given[8] = None
    table = confusion("Confusion", Labels(wanted, given))
    assert table.rows == [["label_00", "label_05", 3, "75%"], ["label_02", NONE, 1, "25%"]]
    assert table.note == "The pairs most often confused: 4 of 4 wrong answers to 120 questions."


@pytest.mark.parametrize(
    ("task", "where", "problem"),
    [
        ({}, "tasks.t", "says nothing that could be checked"),
        ({"label_set": []}, "tasks.t.label_set", "holds no label; two are needed"),
        ({"label_set": ["yes"]}, "tasks.t.label_set", "holds 'yes' alone; two are needed"),
        ({"label_set": ["yes", " . "]}, "tasks.t.label_set", "' . ' is no label"),
        ({"label_set": ["yes", "no", "Yes."]}, "tasks.t.label_set", "'yes' and 'Yes.' are one label"),
        ({"labels": {"topic": []}}, "tasks.t.labels.topic", "holds no label"),
        ({"label_set": ["a", "b"], "json_schema": {}}, "tasks.t.label_set", "an answer that is a label is no JSON"),
        ({"json_schema": {"$ref": "http://x.y/z"}}, "tasks.t.json_schema", "leads nowhere in this schema"),
    ],
)
def test_task_that_cannot_be_checked_is_refused_by_its_place(task: dict[str, Any], where: str, problem: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check_task("t", TaskConfig(**task))
    assert caught.value.where == where and problem in caught.value.problem
