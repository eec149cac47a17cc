"""A data source whose rows another stage writes: `data: {made: {from: sample}}`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_project import Project

from pipeline import runner
from pipeline.errors import RecipeError
from pipeline.plan import plan
from pipeline.recipe import load_recipe
from pipeline.store import Store

RECIPE = """\
name: rounds
model: {model_name_or_path: base-model}
data:
  rows: {path: rows.jsonl}
  made: {from: sample}
stages:
  again: {kind: toy, policy: sft, data: [made, rows]}
  sample: {kind: toy-rows, policy: sft, data: rows}
  sft: {kind: toy, data: rows}
"""
UP_TO_DATE = {name: "skip" for name in ("sft", "sample", "again")}


@pytest.fixture
def rounds(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("PYTHONPATH", project.environment["PYTHONPATH"])
    project.write(RECIPE, "rounds.yaml")
    return project


def run(*overrides: str, force: tuple[str, ...] = ()) -> list[str]:
    said: list[str] = []
    runner.run(load_recipe("rounds.yaml", overrides), Path("runs"), (), force, say=said.append)
    return said


def planned(*overrides: str, wanted: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    recipe = load_recipe("rounds.yaml", overrides)
    steps = plan(recipe, Store(Path("runs"), recipe), wanted)
    return {step.stage.name: (step.action, "; ".join(step.reasons)) for step in steps}


def actions(*overrides: str) -> dict[str, str]:
    return {name: action for name, (action, _) in planned(*overrides).items()}


def test_stage_waits_for_the_one_that_writes_its_rows(rounds: Project) -> None:
    assert planned(wanted=("again",)) == {
        "sft": ("run", "not run yet"),
        "sample": ("run", "sft will change"),
        "again": ("run", "sample will change; sft will change"),
    }


def test_stage_reads_the_rows_that_were_written(rounds: Project) -> None:
    run()
    assert actions() == UP_TO_DATE
    (made,) = Path("runs/rounds/sample").glob("*/output/comparisons.jsonl")
    inputs = json.loads((rounds.stage_folder("again", "rounds") / "inputs.json").read_text("utf-8"))
    assert len(inputs["rows"]["made"]) == len(made.read_text("utf-8").splitlines()) == 6
    assert inputs["inputs"].keys() == {"sample", "sft"}


def test_stage_says_how_many_of_the_written_rows_changed(rounds: Project) -> None:
    run()
    assert planned("sample.steps=4") == {
        "sft": ("skip", "up to date: config and base, rows unchanged"),
        "sample": ("run", "steps 6 -> 4"),
        "again": ("run", "sample will change"),
    }
    assert "again: run (rows changed: 2 in made)" in run("sample.steps=4")


def test_value_set_back_finds_the_rows_that_were_written_then(rounds: Project) -> None:
    run()
    run("sample.steps=4")
    assert actions() == UP_TO_DATE == actions("sample.steps=4")


def test_stage_stays_up_to_date_when_equal_rows_are_written_again(rounds: Project) -> None:
    run()
    assert "again: up to date: config and made, rows, sft unchanged" in run(force=("sample",))


def test_option_of_the_source_holds_for_written_rows(rounds: Project) -> None:
    run()
    assert planned("data.made.limit=2")["again"] == ("run", "limit of made unset -> 2")


def test_resolved_recipe_loads_again(rounds: Project) -> None:
    run()
    again = load_recipe("runs/rounds/recipe.yaml")
    assert again.data == load_recipe("rounds.yaml").data
    assert list(again.stages) == ["sft", "sample", "again"]


@pytest.mark.parametrize(
    ("old", "new", "problem", "remedy"),
    [
        ("from: sample", "from: smple", "there is no stage 'smple'", "did you mean 'sample'?"),
        ("from: sample", "from: sft", "'sft' writes no rows", "known: sample"),
        ("from: sample", "from: base", "there is no stage 'base'", "known: sample"),
    ],
)
def test_source_is_refused_at_its_line(rounds: Project, old: str, new: str, problem: str, remedy: str) -> None:
    rounds.write(RECIPE.replace(old, new), "rounds.yaml")
    with pytest.raises(RecipeError) as caught:
        load_recipe("rounds.yaml")
    assert (caught.value.where, caught.value.problem) == ("rounds.yaml:5: data.made.from", problem)
    assert caught.value.remedy == remedy


def test_ring_through_rows_is_refused(rounds: Project) -> None:
    rounds.write(RECIPE.replace("toy, data: rows", "toy, data: made"), "rounds.yaml")
    with pytest.raises(RecipeError, match=r"wait for each other: .*sample -> ") as caught:
        load_recipe("rounds.yaml")
    assert "read other data" in caught.value.remedy


def test_inherited_path_gives_way_to_a_stage_when_it_is_null(rounds: Project) -> None:
    rounds.write("extends: rounds.yaml\ndata: {rows: {path: null, from: other}}\n"
                 "stages: {other: {kind: toy-rows, data: more}}\n", "child.yaml")  # fmt: skip
    recipe = load_recipe("child.yaml", ["data.more.path=rows.jsonl"])
    assert next(iter(recipe.stages)) == "other"
    with pytest.raises(RecipeError, match=r"both a path \(rows.jsonl\) and a stage \(other\)"):
        load_recipe("child.yaml", ["data.more.path=rows.jsonl", "data.rows.path=rows.jsonl"])
