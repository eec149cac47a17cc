"""A stage whose rows people send back after it has ended: the run stops with 3 until enough are there."""

from __future__ import annotations

import json
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
  sft: {kind: toy, data: rows}
  ask: {kind: toy-batch, policy: sft, data: rows, min_rows: 2}
  rm: {kind: toy-rm, policy: sft, data: back}
  other: {kind: toy, data: rows, steps: 4}
"""


@pytest.fixture
def people(project: Project) -> Project:
    project.write(RECIPE, "people.yaml")
    return project


def send_back(project: Project, count: int) -> None:
    (ask,) = (project.root / "runs/people/ask").iterdir()
    folder = project.root / "runs/people/annotation" / f"ask-{ask.name}"
    folder.mkdir(parents=True, exist_ok=True)
    lines = (project.root / "rows.jsonl").read_text("utf-8").splitlines()[:count]
    (folder / "comparisons.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def test_run_stops_with_3_and_says_what_is_missing_when_rows_are_awaited(people: Project) -> None:
    ended = people.command("run", "people.yaml", "rm")
    assert ended.returncode == 3
    assert "rm waits for people's rankings (ask: 0 of 2 rows are back)" in ended.stderr
    assert "posttune collect import people.yaml --stage ask FILE..." in ended.stderr


def test_stages_that_need_nobody_run_before_the_wait(people: Project) -> None:
    assert people.command("run", "people.yaml").returncode == 3
    assert (people.stage_folder("other", "people") / "manifest.json").exists()
    assert not (people.root / "runs/people/rm").exists()


def test_run_goes_on_when_enough_has_come_back(people: Project) -> None:
    people.command("run", "people.yaml")
    send_back(people, 1)
    assert people.command("run", "people.yaml").returncode == 3
    send_back(people, 2)
    ended = people.command("run", "people.yaml")
    assert ended.returncode == 0, ended.stderr
    assert len(json.loads((people.stage_folder("rm", "people") / "inputs.json").read_text())["rows"]["back"]) == 2


def test_plan_says_wait_and_changes_nothing(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    before = sorted(Path(people.root).rglob("*"))
    (line,) = [
        line for line in people.command("plan", "people.yaml", "rm").stdout.splitlines() if line.startswith("rm ")
    ]
    assert line.split() == ["rm", "wait", "ask:", "0", "of", "2", "rows", "are", "back"]
    assert sorted(Path(people.root).rglob("*")) == before


def test_stage_is_stale_when_more_comes_back_later(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    send_back(people, 2)
    assert people.command("run", "people.yaml", "rm").returncode == 0
    send_back(people, 3)
    assert "rows changed: 1 in back" in people.command("plan", "people.yaml", "rm").stdout


def test_lower_min_rows_ends_the_wait_without_a_new_batch(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    send_back(people, 1)
    ended = people.command("run", "people.yaml", "rm", "--set", "ask.min_rows=1")
    assert ended.returncode == 0
    assert "ask: up to date" in ended.stdout


def test_gc_keeps_a_batch_that_people_have_answered(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    (first,) = (people.root / "runs/people/ask").iterdir()
    send_back(people, 1)
    for steps in ("3", "4"):
        people.command("run", "people.yaml", "ask", "--set", f"ask.steps={steps}")
    told = people.command("gc", "people.yaml", "--delete", "--set", "ask.steps=4").stdout
    assert "ask" in told  # the second batch, which nobody has answered
    assert first.is_dir()
    assert len(list((people.root / "runs/people/ask").iterdir())) == 2


def test_preview_of_rows_that_people_have_still_to_make_says_so(people: Project) -> None:
    people.command("run", "people.yaml", "ask")
    ended = people.command("preview", "people.yaml", "rm")
    assert ended.returncode == 2
    assert "the rows of 'ask' are people's to make: 0 of 2 rows are back" in ended.stderr


def test_plan_and_run_say_the_same_of_what_comes_after_a_wait(people: Project) -> None:
    people.write(RECIPE + "  last: {kind: toy-ppo, policy: sft, reward: rm, data: rows}\n", "people.yaml")
    people.command("run", "people.yaml", "ask", "sft")
    planned = people.command("plan", "people.yaml", "last").stdout
    assert "last: wait (rm waits)" in people.command("run", "people.yaml", "last").stdout
    assert ["last", "wait", "rm", "waits"] in [line.split() for line in planned.splitlines()]
