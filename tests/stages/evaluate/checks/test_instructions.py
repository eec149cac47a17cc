"""IFEval's rules, by lm-eval. Whether an answer follows them is told by reading it."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from pipeline.contract import TaskConfig
from pipeline.errors import RecipeError
from stages.evaluate.checks import instructions
from stages.evaluate.checks.task import check_answer, check_task

TASK = TaskConfig(checks=("instructions",))
needs_lm_eval = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in instructions.PACKAGES), reason="lm-eval is not installed"
)


def rules(**named: dict[str, Any]) -> dict[str, Any]:
    names = {name.replace("__", ":"): given for name, given in named.items()}
    return {"instruction_id_list": list(names), "kwargs": list(names.values())}


NO_COMMA = rules(punctuation__no_comma={})
TWO = rules(punctuation__no_comma={}, length_constraints__number_words={"relation": "at least", "num_words": 3})
SENTENCES = {"relation": "less than", "num_sentences": 3}


@needs_lm_eval
@pytest.mark.parametrize(
    ("answer", "share", "followed"),
    [("one two three", 1, 1), ("one, two, three", 1 / 2, 0), ("one two", 1 / 2, 0), ("one, two", 0, 0), ("", 0, 0)],
)
def test_share_of_the_rules_followed_is_told(answer: str, share: float, followed: float) -> None:
    found = check_answer(answer, TWO, TASK)
    assert found == {"instructions_followed": share, "all_instructions_followed": followed}


@needs_lm_eval
def test_arguments_of_other_rules_are_passed_over_when_null() -> None:
    row = rules(punctuation__no_comma={"num_words": None, "relation": None})
    assert check_answer("x", row, TASK)["instructions_followed"] == 1


@needs_lm_eval
def test_rule_that_cannot_be_checked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "_has_punkt", lambda: False)
    instructions.obstacle.cache_clear()
    row = rules(punctuation__no_comma={}, length_constraints__number_sentences=SENTENCES)
    assert check_answer("x", row, TASK) == {"instructions_followed": 1}
    assert check_answer("x", rules(length_constraints__number_sentences=SENTENCES), TASK) == {}
    instructions.obstacle.cache_clear()


@needs_lm_eval
@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("punctuation:no_coma", "{}", "did you mean 'punctuation:no_comma'"),
        ("keywords:existence", '{"keywordz": ["a"]}', "its kwargs do not fit"),
        ("keywords:existence", '{"keywords": ["a"]}', None),
    ],
)
def test_obstacle_is_named(name: str, arguments: str, reason: str | None) -> None:
    found = instructions.obstacle(name, arguments)
    assert found is None if reason is None else reason in str(found)


@needs_lm_eval
def test_language_is_told_the_same_way_every_time() -> None:
    row = rules(language__response_language={"language": "it"})
    assert len({check_answer("domani no", row, TASK)["instructions_followed"] for _ in range(30)}) == 1


@needs_lm_eval
def test_answers_are_not_written_to_the_log(capfd: pytest.CaptureFixture[str]) -> None:
    check_answer("***", rules(language__response_language={"language": "it"}), TASK)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reference", [None, "text", {"a": 1}, [1]])
def test_reference_without_rules_gives_no_figure(reference: Any) -> None:
    assert check_answer("x", reference, TASK) == {}


def test_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "find_spec", lambda name: None if name == "lm_eval" else name)
    with pytest.raises(RecipeError, match=r"'instructions' needs lm_eval, not installed here\n  -> pip install"):
        check_task("t", TASK)
