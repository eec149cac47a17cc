"""Which reward models ppo refuses, from the figures that go with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import Log, lora_model, make_context

from pipeline.content import ContentCache
from pipeline.contract import Artifact, ModelConfig, Table
from pipeline.errors import ModelError
from pipeline.fingerprint import fingerprint, material
from pipeline.recipe import load_recipe
from stages import ppo, rm
from stages.ppo.gate import check_rewards

GOOD = {"num_pairs": 200, "num_prompts": 100, "accuracy": [0.65, 0.56, 0.74], "length_rule": "longer",
        "over_length": [0.1, 0.02, 0.18]}  # fmt: skip


def told(folder: Path, *figures: dict[str, Any] | None, insist: bool = False, kind: type = ppo.Config) -> list[str]:
    """What the gate says aloud of reward models with these figures, `rm-0` and on."""
    log, config = Log(), kind(policy="sft", data="rows", insist_on_reward=insist)
    context = make_context(folder / "out", lora_model(folder), log)
    context.inputs = {"reward": [publish(folder / f"rm-{i}", own) for i, own in enumerate(figures)]}
    found = check_rewards(config, context)
    assert log.said == [f"warning: {line}" for line in found]
    return found


def publish(folder: Path, figures: dict[str, Any] | None) -> Artifact:
    folder.mkdir()
    (folder / "posttune.json").write_text(json.dumps({"role": "reward"} | ({"heldout": figures} if figures else {})))
    return Artifact(folder.name, "reward", folder)


def test_reward_model_that_beats_chance_and_length_is_taken(tmp_path: Path) -> None:
    assert told(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"accuracy": [0.55, 0.5, 0.6]}, r"rm-0 orders 55\.0% \[50\.0%, 60\.0%\] of 200 .*: no better than chance"),
        ({"accuracy": [0.3, 0.2, 0.4]}, "no better than chance"),
        (
            {"over_length": [0.0, 0.0, 0.0]},
            r"65\.0% of 200 .*'the longer answer wins' 65\.0%: no better than leng",
        ),
        (
            {"length_rule": "shorter", "over_length": [-0.1, -0.3, 0.1]},
            r"'the shorter answer wins' 75\.0%: no better than length",
        ),
    ],
)
@pytest.mark.parametrize("kind", [ppo.Config, ppo.RlooConfig])
def test_reward_model_no_better_than_chance_or_length_is_refused(
    tmp_path: Path, change: dict[str, Any], problem: str, kind: Any
) -> None:
    with pytest.raises(ModelError, match=problem) as error:
        told(tmp_path, {**GOOD, **change}, kind=kind)
    assert error.value.where == f"{kind.algorithm}.reward" and "insist_on_reward: true" in str(error.value)


def test_refusal_becomes_a_warning_when_the_recipe_insists(tmp_path: Path) -> None:
    (line,) = told(tmp_path, {**GOOD, "accuracy": [0.5, 0.4, 0.6]}, insist=True)
    assert "no better than chance" in line and line.endswith("the recipe insists on it")


def test_every_member_of_an_ensemble_is_judged(tmp_path: Path) -> None:
    coin, long = {**GOOD, "accuracy": [0.5, 0.4, 0.6]}, {**GOOD, "over_length": [0.0, 0.0, 0.0]}
    with pytest.raises(ModelError, match=r"rm-1 orders .* than chance.*; reward model rm-2 orders .* than length"):
        told(tmp_path, GOOD, coin, long)


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        (None, "rm-0 carries no held-out figures"),
        ({**GOOD, "num_prompts": 9, "accuracy": [0.3, 0.2, 0.4]}, "judged on 200 pairs of 9 prompts: too few"),
        ({**GOOD, "over_length": [0.05, -0.02, 0.12]}, r"longer answer wins': +5.0 points [-2.0, +12.0]"),
    ],
)
def test_what_is_not_known_of_a_reward_model_is_said(tmp_path: Path, figures: dict[str, Any], words: str) -> None:
    (line,) = told(tmp_path, figures)
    assert words in line


@pytest.mark.parametrize("figures", [{**GOOD, "accuracy": ["a", 1, 2]}, {"num_pairs": 3}, {**GOOD, "num_pairs": None}])
def test_figures_that_cannot_be_read_are_refused(tmp_path: Path, figures: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"posttune\.json: heldout: its held-out figures cannot be read"):
        try:
            told(tmp_path, figures)
        except ModelError as error:
            raise ModelError(str(error)) from error


def test_reward_functions_alone_are_not_judged(tmp_path: Path) -> None:
    context = make_context(tmp_path / "out", lora_model(tmp_path))
    pays = {"f": {"function": "valid_json"}}
    assert check_rewards(ppo.Config(policy="sft", data="rows", reward=[], reward_functions=pays), context) == []


def test_reward_model_of_rm_carries_what_ppo_reads(
    model: ModelConfig, rows: dict[str, Path], policies: list[Path], tmp_path: Path
) -> None:
    """Seven held-out prompts: ppo goes on, says that they are too few, and its report keeps that."""
    context = make_context(tmp_path / "rm", model, policy="base", data=rows["comparisons"])
    card = rm.run(rm.Config(data="rows", max_steps=1, normalize_prompts=0, max_length=96), context)
    note = json.loads((tmp_path / "rm/posttune.json").read_text())["heldout"]
    assert note["accuracy"] == [card.metrics[f"heldout/accuracy{end}"] for end in ("", "_low", "_high")]
    rule = f"heldout/over_{note['length_rule']}_wins"
    assert note["over_length"] == [card.metrics[f"{rule}{end}"] for end in ("", "_low", "_high")]
    assert card.metrics[rule] == min(card.metrics[f"heldout/over_{one}_wins"] for one in ("longer", "shorter"))
    assert (note["num_pairs"], note["num_prompts"]) == (10, 7)

    log = Log()
    config = ppo.Config(
        policy="p", data="rows", total_episodes=4, rollout_batch_size=4, max_new_tokens=2, eval_prompts=0
    )
    inputs = {"policy": policies[0], "reference": policies[0], "reward": tmp_path / "rm", "data": rows["prompts"]}
    result = ppo.run(config, make_context(tmp_path / "ppo", model, log, **inputs))
    words = "reward model rm was judged on 10 pairs of 7 prompts: too few to say whether it is any good"
    assert log.said[0] == f"warning: {words}"
    assert isinstance(result.fragments[0], Table) and ["reward", words] in result.fragments[0].rows


def test_coin_is_refused_before_a_model_is_loaded(model: ModelConfig, tmp_path: Path) -> None:
    coin = publish(tmp_path / "rm", {**GOOD, "accuracy": [0.5, 0.4, 0.6]})
    nothing = model.model_copy(update={"model_name_or_path": str(tmp_path / "there is none")})
    context = make_context(tmp_path / "out", nothing)
    context.inputs = {"reward": [coin]}
    with pytest.raises(ModelError, match="no better than chance"):
        ppo.run(ppo.Config(policy="sft", data="rows"), context)


def test_insisting_does_not_make_a_finished_policy_stale(
    tiny_model: Path, rows: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(f"""
        model: {{model_name_or_path: {tiny_model}, lora: {{r: 4}}}}
        data: {{ranked: {{path: {rows["comparisons"]}}}}}
        stages:
          rm: {{data: ranked}}
          ppo: {{policy: base, data: ranked}}
          again: {{kind: ppo, policy: base, data: ranked, insist_on_reward: true}}""")
    recipe, cache = load_recipe(tmp_path / "recipe.yaml"), ContentCache(tmp_path / "hashes.json")
    found = {name: fingerprint(material(recipe, stage, {}, cache)) for name, stage in recipe.stages.items()}
    assert found["ppo"] == found["again"]
