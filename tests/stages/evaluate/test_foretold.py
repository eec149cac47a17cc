"""What a recipe alone tells of an evaluation is what the evaluation then finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.contract import Artifact, Context, ModelConfig, TaskConfig
from stages.evaluate import foretold
from stages.evaluate.asking.candidates import candidates
from stages.evaluate.checks.task import CHECKS
from stages.evaluate.config import Config
from stages.evaluate.foretold import CHECKED, NEUTRAL, SCORES, figures_of_task, names, problem
from stages.evaluate.verdict import primary

SERVER = {"base_url": "http://localhost:1/v1", "model": "m"}
DESK = TaskConfig(json_schema={"type": "object"}, labels={"urgency": ("low", "high")})


def config(**changes: Any) -> Config:
    return Config(candidates=("base", "sft"), data="rows", **changes)


def test_names_are_those_of_the_candidates(tmp_path: Path) -> None:
    asked = config(baselines={"prompt": {"system": "Hi"}, "gpt": {"endpoint": SERVER},
                              "told": {"system": "Hi", "policies": ["sft", "base"]}})  # fmt: skip
    policies = [Artifact(name, "policy") for name in asked.candidates]
    context = Context(tmp_path, ModelConfig(model_name_or_path="m"), {"candidates": policies})
    assert sorted(names(asked)) == sorted(one.name for one in candidates(asked, context))


@pytest.mark.parametrize(
    ("check", "about"),
    [
        ("exact", "Paris"),
        ("f1", "Paris"),
        ("rouge", "Paris"),
        ("number", "42"),
        ("fields", {"city": "Paris"}),
        ("supported", ["Paris is a city."]),
    ],
)
def test_figures_of_a_check_are_those_that_it_gives(check: Any, about: Any) -> None:
    given = CHECKS[check]("Paris 42", about)
    known = CHECKED[check]
    assert given
    assert all(name in known or any(k.endswith("/") and name.startswith(k) for k in known) for name in given)


def test_every_check_has_its_figures() -> None:
    assert CHECKED.keys() == CHECKS.keys()


def test_figures_of_a_task_are_those_of_its_answers() -> None:
    from stages.evaluate.checks.task import check_answer

    assert set(figures_of_task(DESK)) == set(check_answer("{}", {"urgency": "low"}, DESK))
    whole = TaskConfig(label_set=("yes", "no"))
    assert set(figures_of_task(whole)) == set(check_answer("yes", "yes", whole))


@pytest.mark.parametrize(
    ("wanted", "changes"),
    [
        ("valid_json", {}),
        ("label_accuracy/urgency", {}),
        ("ended", {}),
        ("proxy score", {"reward": "rm"}),
        ("win rate under proxy", {"reward": "rm"}),
        ("win rate under the LLM judge", {"judge": SERVER}),
    ],
)
def test_figure_that_can_come_is_let_pass(wanted: str, changes: dict[str, Any]) -> None:
    assert problem(config(primary=wanted, **changes), [DESK]) is None


@pytest.mark.parametrize(
    ("wanted", "found", "remedy"),
    [
        ("label_acuracy", "no candidate can have the figure 'label_acuracy'", "did you mean 'label_accuracy'?"),
        ("proxy score", "no candidate can have the figure 'proxy score'", "known: ended, label_accuracy, "),
        ("rouge", "no candidate can have the figure 'rouge'", "known: ended, label_accuracy, "),
        ("length", "more of 'length' is neither better nor worse", "known: ended, label_accuracy, "),
    ],
)
def test_figure_that_cannot_come_is_refused(wanted: str, found: str, remedy: str) -> None:
    refused = problem(config(primary=wanted), [DESK])
    assert refused is not None
    assert (refused.key, refused.found) == (("primary",), found)
    assert refused.remedy.startswith(remedy)


def test_field_of_a_reference_cannot_be_known_before() -> None:
    assert problem(config(primary="field/address.city"), [TaskConfig(checks=("fields",))]) is None
    assert problem(config(primary="field/address.city"), [TaskConfig(checks=("exact",))]) is not None


@pytest.mark.parametrize(
    ("named", "remedy"),
    [("sftt", "did you mean 'sft'?"), ("ppo", "add it to them, or name one of them: base, sft")],
)
def test_baseline_of_a_policy_that_is_not_compared_is_refused(named: str, remedy: str) -> None:
    refused = problem(config(baselines={"prompt": {"system": "Hi", "policies": [named]}}), [])
    assert refused == (("baselines", "prompt", "policies"), f"'{named}' is not among the candidates", remedy)


def test_price_for_nobody_is_refused() -> None:
    refused = problem(config(prices={"default": {}, "sftt": {"hour": 1}}), [])
    assert refused == (("prices", "sftt"), "no candidate is called 'sftt'", "did you mean 'sft'?")


def test_words_are_those_of_the_verdict() -> None:
    assert SCORES["reward"] == primary.PROXY
    assert set(NEUTRAL) == {start for start, sign in primary.DIRECTIONS.items() if sign == 0}
    assert [primary.direction(score) for score in (*SCORES.values(), foretold.JUDGED)] == [1, 1, 1]
