"""What is refused before anything runs, by `plan` as by `run`, and without a heavy library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from test_laws import BLOCKED, ROOT
from toy_project import Project

QUICKSTART = str(ROOT / "recipes" / "quickstart.yaml")


@pytest.fixture
def desk(project: Project) -> Project:
    """A project with the quickstart's data."""
    (project.root / "data").symlink_to(ROOT / "data")
    return project


def planned(*overrides: str, stages: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    options = [part for override in overrides for part in ("--set", override)]
    arguments = [sys.executable, "-c", BLOCKED, "plan", QUICKSTART, *stages, *options]
    return subprocess.run(arguments, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("data.instructions.path=none/x.jsonl", "error: none/x.jsonl: no such file or folder\n  -> check the path"),
        ("data.instructions.path=data/helpdesk/instruction.jsonl", "  -> did you mean 'data/helpdesk/instructions.jso"),
        ("data.instructions.path='data/helpdesk/*.csv'", "data/helpdesk/*.csv: no file matches\n  -> check the pat"),
        ("evaluate.primary=label_acuracy", "evaluate.primary: no candidate can have the figure 'label_acuracy'\n  -> "),
        ("evaluate.prices={sfft: {hour: 1}}", "evaluate.prices.sfft: no candidate is called 'sfft'\n  -> did you"),
        ("evaluate.candidates=[base,sftt]", "there is no stage 'sftt'\n  -> did you mean 'sft'?"),
        ("evaluate.baselines.few_shot.policies=[sfft]", "policies: 'sfft' is not among the candidates\n  -> did you"),
    ],
)
def test_broken_recipe_is_not_planned(desk: Project, override: str, told: str) -> None:
    result = planned(override)
    assert (result.returncode, result.stdout) == (2, "")
    assert told in result.stderr
    assert result.stderr.count("error:") == 1


def test_run_refuses_a_schema_that_is_none_before_training(desk: Project) -> None:
    ran = desk.command("run", QUICKSTART, "--set", "tasks.helpdesk.json_schema={type: objekt}")
    assert ran.returncode == 2 and "tasks.helpdesk.json_schema.type: not a JSON Schema: 'objekt'" in ran.stderr
    assert not (desk.root / "runs").exists()


def test_run_says_what_plan_says(desk: Project) -> None:
    for override in ("data.instructions.path=nothere.jsonl", "evaluate.primary=label_acuracy"):
        ran = desk.command("run", QUICKSTART, "--set", override)
        assert (ran.returncode, ran.stderr) == (2, planned(override).stderr)
    assert not (desk.root / "runs").exists()


def test_hub_id_is_not_looked_for_here(desk: Project) -> None:
    assert planned("data.instructions.path=owner/name").returncode == 0


def test_what_the_wanted_stages_do_not_read_is_not_missed(desk: Project) -> None:
    assert planned("data.prompts.path=nothere.jsonl", stages=("sft",)).returncode == 0
    assert planned("data.prompts.path=nothere.jsonl", stages=("ppo",)).returncode == 2


def test_data_of_a_finished_stage_may_be_gone(project: Project) -> None:
    """Where nothing is read nothing is missed."""
    project.rows(name="more.jsonl")
    project.write(Path("chain.yaml").read_text("utf-8").replace("rows.jsonl", "./more.jsonl"))
    assert project.command("plan", "chain.yaml").returncode == 0
    Path("more.jsonl").unlink()
    assert project.command("plan", "chain.yaml").returncode == 2
