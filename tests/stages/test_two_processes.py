"""`launch: {num_processes: 2}` on a CPU: two gloo processes, one artifact, each metric once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from toy_project import Project

RECIPE = """\
name: two
model: {{model_name_or_path: {model}, dtype: float32, lora: {{r: 2, alpha: 4}}}}
data:
  rows: {{path: rows.jsonl}}
stages:
  sft: {{data: rows, max_steps: 2, per_device_train_batch_size: 1, gradient_accumulation_steps: 1, eval_prompts: 0}}
launch: {{num_processes: {processes}}}
"""


def test_sft_records_each_step_once_when_two_processes_train(project: Project, tiny_model: Path) -> None:
    project.rows(12)
    project.write(RECIPE.format(model=tiny_model, processes=2), "two.yaml")
    done = project.command("run", "two.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    (folder,) = (project.root / "runs/two/sft").iterdir()
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2]
    assert entries[0]["num_tokens"] == 26  # a row of 13 tokens in each process
    assert (folder / "output/adapter_model.safetensors").is_file()


def test_two_processes_take_the_steps_of_one_with_twice_the_accumulation(project: Project, tiny_model: Path) -> None:
    project.rows(12)
    losses = []
    for processes, accumulation in ((2, 1), (1, 2)):
        text = RECIPE.format(model=tiny_model, processes=processes).replace("two\n", f"run{processes}\n", 1)
        text = text.replace("accumulation_steps: 1", f"accumulation_steps: {accumulation}")
        project.write(text, f"{processes}.yaml")
        assert project.command("run", f"{processes}.yaml").returncode == 0
        (metrics,) = (project.root / f"runs/run{processes}/sft").glob("*/metrics.jsonl")
        losses.append([json.loads(line)["loss"] for line in metrics.read_text().splitlines()])
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_two_processes_are_another_artifact_when_the_recipe_is_otherwise_equal(
    project: Project, tiny_model: Path
) -> None:
    project.rows(12)
    project.write(RECIPE.format(model=tiny_model, processes=2), "two.yaml")
    assert project.command("run", "two.yaml").returncode == 0
    project.write(RECIPE.format(model=tiny_model, processes=1), "two.yaml")
    assert "world_size 2 -> 1" in project.command("plan", "two.yaml").stdout
