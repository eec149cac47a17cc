"""`posttune collect`: which batch is meant, and what is refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_project import Project

RECIPE = """\
name: people
model: {model_name_or_path: base-model}
data:
  rows: {path: rows.jsonl}
  back: {from: ask}
stages:
  ask: {kind: toy-batch, data: rows}
  ask-again: {kind: toy-batch, policy: rm, data: rows}
  rm: {kind: toy, data: back}
"""


@pytest.fixture
def people(project: Project) -> Project:
    project.write(RECIPE, "people.yaml")
    return project


def test_recipe_without_a_batch_is_refused(people: Project) -> None:
    ended = people.command("collect", "status", "chain.yaml")
    assert (ended.returncode, "asks nobody for rankings" in ended.stderr) == (2, True)


def test_stage_that_makes_no_batch_is_refused_with_the_nearest_one(people: Project) -> None:
    ended = people.command("collect", "status", "people.yaml", "--stage", "ak")
    assert (ended.returncode, "did you mean 'ask'?" in ended.stderr) == (2, True)


def test_batch_that_is_not_made_yet_is_refused_with_the_command_that_makes_it(people: Project) -> None:
    ended = people.command("collect", "export", "people.yaml")
    assert (ended.returncode, "posttune run people.yaml ask" in ended.stderr) == (2, True)


def test_the_only_batch_that_is_made_is_meant(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    ended = people.command("collect", "status", "people.yaml")
    (ask,) = (people.root / "runs/people/ask").iterdir()
    assert ended.returncode == 2  # a toy: it has no batch.json
    assert f"{Path('runs/people/ask') / ask.name / 'output/batch.json'}" in ended.stderr


def test_batch_of_other_settings_is_another_batch(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    ended = people.command("collect", "status", "people.yaml", "--set", "ask.steps=3")
    assert (ended.returncode, "ask: steps 6 -> 3" in ended.stderr) == (2, True)


@pytest.mark.parametrize(
    ("option", "said"),
    [(("--map", "annotator"), "a map is OURS=COLUMN"), (("--on-conflict", "keep-both"), "keep-both")],
)
def test_import_is_refused_when_an_option_is_wrong(people: Project, option: tuple[str, ...], said: str) -> None:
    people.command("run", "people.yaml", "ask")
    ended = people.command("collect", "import", "people.yaml", "rows.jsonl", *option)
    assert (ended.returncode, said in ended.stderr) == (2, True)


def test_batch_that_went_out_is_not_made_anew(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    (ask,) = (people.root / "runs/people/ask").iterdir()
    (people.root / f"runs/people/annotation/ask-{ask.name}").mkdir(parents=True)
    ended = people.command("run", "people.yaml", "ask", "--force", "ask")
    assert (ended.returncode, "this batch has gone out to people" in ended.stderr) == (2, True)
    assert (ask / "manifest.json").exists()
