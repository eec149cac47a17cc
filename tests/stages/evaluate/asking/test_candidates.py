"""Who is compared, by what name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.contract import Artifact, Context, ModelConfig
from pipeline.errors import DataError, RecipeError
from stages.evaluate.asking.candidates import PLAIN, candidates
from stages.evaluate.config import Config

SERVER = {"endpoint": {"base_url": "http://localhost:1/v1", "model": "m"}}


def found(tmp_path: Path, baselines: dict[str, Any], names: tuple[str, ...] = ("base", "sft"), **inputs: Any) -> Any:
    config = Config(candidates=names, baselines=baselines, examples="rows", documents="rows", data="rows")
    policies = [Artifact(name, "policy") for name in names]
    context = Context(tmp_path, ModelConfig(model_name_or_path="m"), {"candidates": policies, **inputs})
    return candidates(config, context)


def test_plain_ones_come_first_and_baselines_are_named_after_their_policy(tmp_path: Path) -> None:
    made = found(tmp_path, {"shots": {"num_examples": 2, "policies": ["sft", "base"]}, "prompt": {"system": "Hi"}})
    assert [c.name for c in made] == ["base", "sft", "sft + shots", "base + shots", "base + prompt"]
    assert [c.policy.name for c in made] == ["base", "sft", "sft", "base", "base"]
    assert [c.is_plain for c in made] == [True, True, False, False, False]
    assert made[2].way.num_examples == 2 and made[4].way.system == "Hi"


def test_plain_way_adds_nothing() -> None:
    assert (PLAIN.system, PLAIN.num_examples, PLAIN.num_passages, PLAIN.best_of, PLAIN.endpoint) == (
        None,
        0,
        0,
        1,
        None,
    )


def test_server_has_its_baselines_name_and_no_policy(tmp_path: Path) -> None:
    (server,) = [c for c in found(tmp_path, {"gpt": SERVER}) if c.policy is None]
    assert server.name == "gpt" and not server.is_plain


@pytest.mark.parametrize("names, baselines, twice", [
    (("base", "base"), {}, "base"),
    (("base",), {"base": SERVER}, "base"),
    (("base",), {"gpt": {"system": "Hi"}, "base + gpt": SERVER}, "base + gpt"),
])  # fmt: skip
def test_name_of_two_candidates_is_refused(
    tmp_path: Path, names: tuple[str, ...], baselines: dict[str, Any], twice: str
) -> None:
    with pytest.raises(DataError) as caught:
        found(tmp_path, baselines, names)
    assert caught.value.problem == f"two candidates are called '{twice}'"


def test_best_of_needs_a_reward_model_to_pick(tmp_path: Path) -> None:
    best = {"best": {"best_of": 4}}
    with pytest.raises(RecipeError, match="best_of 4 needs a reward model") as caught:
        found(tmp_path, best)
    assert caught.value.where == "evaluate.baselines.best"
    assert [c.name for c in found(tmp_path, best, reward=[Artifact("rm", "reward")])] == ["base", "sft", "base + best"]


def test_policy_that_a_script_did_not_give_is_named(tmp_path: Path) -> None:
    config = Config(candidates=("base", "sft"), baselines={"p": {"system": "Hi", "policies": "sft"}}, data="rows")  # type: ignore[dict-item]
    context = Context(tmp_path, ModelConfig(model_name_or_path="m"), {"candidates": [Artifact("base", "policy")]})
    with pytest.raises(RecipeError, match="'sft' is not among the candidates"):
        candidates(config, context)


def test_price_of_nobody_is_refused(tmp_path: Path) -> None:
    policies = {"candidates": [Artifact("base", "policy")]}
    context = Context(tmp_path, ModelConfig(model_name_or_path="m"), policies)  # type: ignore[arg-type]
    asked = {"candidates": ("base",), "baselines": {"gpt": SERVER}, "data": "rows"}
    with pytest.raises(RecipeError, match="no candidate is called 'base \\+ gpt'") as caught:
        candidates(Config(**asked, prices={"base + gpt": {"hour": 1}}), context)
    assert caught.value.where == "evaluate.prices"
    assert len(candidates(Config(**asked, prices={"gpt": {"hour": 1}, "default": {}}), context)) == 2
