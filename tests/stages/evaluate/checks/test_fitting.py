"""What is said of questions that do not fit their tasks."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from pipeline.contract import TaskConfig
from stages.evaluate.checks import instructions
from stages.evaluate.checks.fitting import misfits


class Asked(NamedTuple):
    id: str
    reference: Any
    task: TaskConfig
    documents: Any = None


def told(references: list[Any], documents: Any = None, **task: Any) -> list[str]:
    return misfits([Asked(f"q{i}", r, TaskConfig(**task), documents) for i, r in enumerate(references)])


@pytest.mark.parametrize("check", ["exact", "f1", "rouge", "fields", "number", "instructions", "supported"])
def test_check_that_applies_to_no_question_is_told(check: str) -> None:
    (message,) = told([None, None], checks=(check,))
    assert message.startswith(f"none of the 2 questions has what the check '{check}' needs: ")


def test_check_that_applies_to_one_question_is_no_misfit() -> None:
    assert told([None, "x", 3], documents="x", checks=("exact", "f1", "rouge", "number", "supported")) == []
    assert told([None, {"a": 1}], checks=("fields",)) == []


def test_reference_outside_the_labels_is_told_with_its_question() -> None:
    assert told(["yes", "No", "perhaps", "who knows"], label_set=("yes", "no")) == [
        "2 references are not among the task's label_set, such as 'perhaps' of question q2"
    ]
    assert told([{"topic": "a"}, '{"topic": "c"}'], labels={"topic": ("a", "b")}) == [
        "1 reference is not among the task's labels.topic, such as 'c' of question q1"
    ]


def test_labels_that_no_reference_has_are_told() -> None:
    assert told([None, {"tone": "x"}], labels={"topic": ("a", "b")}) == [
        "none of the 2 references has the label field 'topic'"
    ]
    assert told([None, 3], label_set=("a", "b")) == [
        "none of the 2 questions has what label_set needs: a reference text"
    ]


def test_references_that_rouge_cannot_read_are_told() -> None:
    assert told(["北京", "Peking", "上海"], checks=("rouge",)) == [
        "'rouge' reads a to z and 0 to 9 only, and 2 of 3 references have none of these"
    ]


def test_rules_left_out_are_told_by_their_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "obstacle", lambda name, given: "no punkt" if name != "c:d" else None)
    rows = [{"instruction_id_list": names, "kwargs": [{}] * len(names)} for names in (["a:b", "c:d"], ["e:f", "a:b"])]
    assert told(rows, checks=("instructions",)) == ["3 instructions are not checked (a:b, e:f): no punkt"]
