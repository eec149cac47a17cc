"""Field by field against a JSON reference, counted by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.contract import TaskConfig
from stages.evaluate.checks.json_fields import same
from stages.evaluate.checks.task import check_answer

TASK = TaskConfig(checks=("fields",))
WANTED = {"intent": "AddToPlaylist", "slots": {"artist": "Too Poetic", "music_item": ["song", "track"]}}


def fields(answer: Any, wanted: Any = WANTED) -> dict[str, float]:
    return check_answer(answer if isinstance(answer, str) else json.dumps(answer), wanted, TASK)


def test_share_of_the_fields_is_given_with_each_of_them() -> None:
    found = fields({"intent": "AddToPlaylist", "slots": {"artist": "too poetic", "music_item": ["track", "song"]}})
    assert found == {
        "field_accuracy": pytest.approx(2 / 3),
        "field_f1": pytest.approx(2 / 3),
        "field/intent": 1,
        "field/slots.artist": 0,
        "field/slots.music_item": 1,
    }


def test_field_that_nobody_asked_for_costs_f1_alone() -> None:
    found = fields({**WANTED, "mood": "calm"})
    assert (found["field_accuracy"], found["field_f1"]) == (1, pytest.approx(6 / 7))


@pytest.mark.parametrize(
    "answer", ["no json", "", "[]", "null", {}, {"slots": "x"}, {"intent": {"a": "b"}}, "[" * 9999]
)
def test_answer_of_another_shape_has_none_right(answer: Any) -> None:
    found = fields(answer)
    assert found["field_accuracy"] == found["field_f1"] == 0
    assert found.keys() == fields(WANTED).keys()


def test_answer_nested_past_all_reading_is_wrong() -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    assert fields(deep, {"a": 1})["field_accuracy"] == 0


def test_empty_object_is_a_field_of_its_own() -> None:
    wanted = {"intents": ["affirm"], "slots": {}}
    assert fields({"intents": ["affirm"], "slots": {}}, wanted)["field_accuracy"] == 1
    found = fields({"intents": ["affirm"], "slots": {"time": "noon"}}, wanted)
    assert found["field_accuracy"] == 0.5 and found["field/slots"] == 0


@pytest.mark.parametrize("reference", [None, "On its way.", [1], {}, 3])
def test_reference_without_fields_gives_no_figure(reference: Any) -> None:
    assert fields(WANTED, reference) == {}


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (1, "1", False),
        (None, "", False),
        ("a", "A", False),
        ([1, 2, 2], [2, 1, 2], True),
        ([1, 2, 2], [2, 1, 1], False),
        ([1], 1, False),
        ({"a": [1, {"b": 2}]}, {"a": [{"b": 2.0}, 1]}, True),
        ({"a": 1}, [["a", 1]], False),
        (float("inf"), 1, False),
    ],
)
def test_values_are_compared_as_json(a: Any, b: Any, equal: bool) -> None:
    assert same(a, b) == equal
