"""What is in a fingerprint, what is not, and how a difference is put into words."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from toy_project import CHAIN, Project

from pipeline.content import ContentCache
from pipeline.fingerprint import differences, fingerprint, material, record_rows
from pipeline.recipe import Recipe, load_recipe

DIGESTS = {"sft": "a" * 64, "rm": "b" * 64}


def parts(recipe: Recipe, stage: str = "ppo", digests: dict[str, str] = DIGESTS) -> dict[str, Any]:
    return material(recipe, recipe.stages[stage], digests, ContentCache(Path("nowhere/hashes.json")))


def of(*overrides: str, stage: str = "ppo", digests: dict[str, str] = DIGESTS, recipe: str = "chain.yaml") -> str:
    return fingerprint(parts(load_recipe(recipe, overrides), stage, digests))


@pytest.mark.parametrize(
    "override",
    [
        "ppo.learning_rate=1e-3",
        "ppo.steps=7",
        "ppo.kl_coef=0.1",
        "seed=18",
        "model.dtype=bfloat16",
        "model.lora={r: 4}",
        "heldout_fraction=0.5",
        "split_salt=x",
        "data.rows.limit=3",
        "data.rows.part=1/2",
        "data.rows.split=all",
        "data.rows.map={messages: m}",
    ],
)
def test_fingerprint_changes_with_what_changes_the_result(project: Project, override: str) -> None:
    assert of(override) != of()


@pytest.mark.parametrize(
    "override",
    [
        "ppo.save_steps=1",
        "ppo.logging_steps=5",
        "ppo.pause=0.5",
        "tracking.wandb.project=x",
        "description=x",
        "name=x",
        "sft.learning_rate=1e-3",
        "rm.steps=9",
        "launch.num_processes=2",
    ],
)
def test_fingerprint_stays_with_what_does_not(project: Project, override: str) -> None:
    assert of(override) == of()


@pytest.mark.parametrize("override", ["launch.num_processes=2"])
def test_fingerprint_changes_with_launch_when_the_stage_is_distributed(project: Project, override: str) -> None:
    assert of(override, stage="sft") != of(stage="sft")
    assert of(override, stage="rm") == of(stage="rm")


def test_fingerprint_changes_with_the_content_of_data_and_model(project: Project) -> None:
    before = of()
    project.rows(7)
    with_rows = of()
    (project.root / "base-model" / "config.json").write_text('{"x": 1}', "utf-8")
    assert len({before, with_rows, of()}) == 3


def test_fingerprint_changes_with_an_inputs_digest(project: Project) -> None:
    assert of(digests={**DIGESTS, "rm": "c" * 64}) != of()


def test_fingerprint_tells_inputs_from_each_other(project: Project) -> None:
    assert of(digests={"sft": "a" * 64, "rm": "b" * 64}) != of(digests={"sft": "b" * 64, "rm": "a" * 64})


def test_fingerprint_stays_when_files_are_touched_or_moved(project: Project) -> None:
    before = of()
    os.utime("rows.jsonl", (1, 1))
    assert of() == before
    Path("elsewhere").mkdir()
    shutil.move("rows.jsonl", "elsewhere/r.jsonl")
    shutil.move("base-model", "elsewhere/model")
    project.write(
        CHAIN.replace("rows.jsonl", "elsewhere/r.jsonl").replace("base-model", "elsewhere/model"), "moved.yaml"
    )
    assert of(recipe="moved.yaml") == before


def test_fingerprint_stays_from_another_working_directory(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = of()
    text = CHAIN.replace("rows.jsonl", "../rows.jsonl").replace("base-model", "../base-model")
    Path("inner").mkdir()
    monkeypatch.chdir("inner")
    Path("chain.yaml").write_text(text, "utf-8")
    assert of() == before


def said(*overrides: str, stage: str = "ppo") -> list[str]:
    """The difference from the recipe as it is to the one with overrides."""
    old, new = load_recipe("chain.yaml"), load_recipe("chain.yaml", overrides)
    return differences(parts(old, stage), parts(new, stage), new, record_rows(old, old.stages[stage]))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["ppo.learning_rate=4e-4"], ["learning_rate 0.0002 -> 0.0004"]),
        (["ppo.kl_coef=1", "seed=3"], ["kl_coef 0.05 -> 1", "seed 17 -> 3"]),
        (["model.dtype=bfloat16"], ["dtype auto -> bfloat16"]),
        (["data.rows.limit=3"], ["limit of rows unset -> 3"]),
        (["heldout_fraction=0.5"], ["heldout_fraction of rows 0.2 -> 0.5"]),
        (["data.more.path=rows.jsonl", "ppo.data=[rows, more]"], ["data rows -> rows, more"]),
        ([], []),
    ],
)
def test_differences_say_key_old_and_new_value(project: Project, overrides: list[str], words: list[str]) -> None:
    assert said(*overrides) == words


def test_differences_say_once_that_a_section_is_new_or_gone(project: Project) -> None:
    recipe = load_recipe("chain.yaml")
    old = parts(recipe)
    prompt = {"prompt": {"system": "s"}}
    old["config"]["baselines"] = prompt
    new = {**old, "config": {**old["config"], "baselines": {**prompt, "other": {"url": "u", "n": 1}}}}
    assert differences(old, new, recipe, {}) == ["baselines.other is new"]
    assert differences(new, old, recipe, {}) == ["baselines.other is gone"]
    without = {**old, "model": {**old["model"], "lora": None}}
    with_one = {**old, "model": {**old["model"], "lora": {"r": 4, "target_modules": ["q", "v"]}}}
    assert differences(without, with_one, recipe, {}) == ["lora is new"]


def test_differences_show_short_values_and_the_first_of_many(project: Project) -> None:
    recipe = load_recipe("chain.yaml")
    old = parts(recipe)
    old["config"] = {"system": "a" * 100, **{f"key_{n}": n for n in range(9)}}
    longer = {**old, "config": {**old["config"], "system": "b" * 100}}
    assert differences(old, longer, recipe, {}) == ["system changed"]
    many = {**old, "config": {"system": "a" * 100, **{f"key_{n}": -1 for n in range(9)}}}
    first = [f"key_{n} {n} -> -1" for n in range(5)]
    assert differences(old, many, recipe, {}) == [*first, "4 more differences"]
    six = {**many, "config": {**many["config"], "key_6": 6, "key_7": 7, "key_8": 8}}
    assert differences(old, six, recipe, {}) == [*first, "key_5 5 -> -1"]


def test_differences_name_an_input_that_changed(project: Project) -> None:
    recipe = load_recipe("chain.yaml")
    new = parts(recipe, digests={**DIGESTS, "rm": "c" * 64})
    assert differences(parts(recipe), new, recipe, {}) == ["reward changed"]


def test_differences_count_the_rows_that_changed(project: Project) -> None:
    recipe = load_recipe("chain.yaml")
    old, rows = parts(recipe), record_rows(recipe, recipe.stages["ppo"])
    lines = Path("rows.jsonl").read_text("utf-8").splitlines()
    Path("rows.jsonl").write_text("\n".join([*lines[:3], "{}", "{}", "{}"]) + "\n", "utf-8")
    assert differences(old, parts(recipe), recipe, rows) == ["rows changed: 3 in rows"]


def test_differences_say_only_that_data_changed_when_rows_are_unknown(project: Project) -> None:
    recipe = load_recipe("chain.yaml")
    old = parts(recipe)
    project.rows(9)
    assert differences(old, parts(recipe), recipe, {"rows": None}) == ["rows changed"]
