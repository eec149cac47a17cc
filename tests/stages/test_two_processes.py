"""`launch: {num_processes: 2}` on a CPU: two gloo processes, one artifact, each metric once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from processes import children, is_alive
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
DPO = "  dpo: {policy: base, data: ranked, max_steps: 2, eval_prompts: 0, sampled_prompts: 0, max_new_tokens: 4}\n"


def test_sft_records_each_step_once_when_two_processes_train(project: Project, tiny_model: Path) -> None:
    project.rows(12)
    project.write(RECIPE.format(model=tiny_model, processes=2), "two.yaml")
    done = project.command("run", "two.yaml")
    assert done.returncode == 0, done.stderr + done.stdout
    (folder,) = (project.root / "runs/two/sft").iterdir()
    entries = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == [1, 2]
    assert entries[0]["num_tokens"] in range(52, 57)  # a row of 26 to 28 tokens in each process
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


@pytest.mark.parametrize(
    ("stage", "how"),
    [("sft", "SIGTERM"), ("sft", "engine killed"), ("dpo", "SIGKILL of one")],
)
def test_two_processes_that_are_interrupted_end_with_the_bits_of_two_that_were_not(
    project: Project, tiny_model: Path, stage: str, how: str
) -> None:
    project.rows(12)
    ranked = [{"prompt": f"ask {i}", "chosen": "good", "rejected": f"bad {i}"} for i in range(40)]
    (project.root / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ranked), "utf-8")
    published = []
    for name in ("whole", "parts"):
        text = RECIPE.format(model=tiny_model, processes=2).replace("two\n", f"{name}\n", 1)
        text = text.replace("stages:\n", f"  ranked: {{path: ranked.jsonl}}\nstages:\n{DPO}")
        project.write(text.replace("max_steps: 2", "max_steps: 40, save_steps: 4"), f"{name}.yaml")
        if name == "parts":
            process = project.start("run", "parts.yaml", stage)
            wait_until(
                lambda: len(list((project.root / "runs/parts").glob(f"{stage}/*/checkpoints/step-*"))) > 1, process
            )
            strike(process, how)
        done = project.command("run", f"{name}.yaml", stage)
        assert done.returncode == 0, done.stderr
        assert name == "whole" or "resume" in done.stdout
        (folder,) = (project.root / f"runs/{name}/{stage}").iterdir()
        published.append((folder / "output/adapter_model.safetensors").read_bytes())
    assert published[0] == published[1]


def strike(engine: subprocess.Popen[str], how: str) -> None:
    """Interrupt a run in two processes; none of its processes is left."""
    (launcher,) = children(engine.pid)
    workers = children(launcher)
    assert len(workers) == 2
    if how == "SIGTERM":
        engine.terminate()
        assert engine.wait(timeout=60) == 130
    elif how == "engine killed":
        engine.kill()
        engine.wait()
    else:
        os.kill(workers[0], signal.SIGKILL)
        assert engine.wait(timeout=60) == 1
    end = time.monotonic() + 30
    while any(map(is_alive, (launcher, *workers))) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(map(is_alive, (launcher, *workers)))


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not reached():
        assert process.poll() is None
        time.sleep(0.05)
