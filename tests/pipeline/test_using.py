"""`posttune chat` and `posttune export`: which artifacts they take, and which they refuse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from toy_project import Project

RECIPE = """\
name: used
model: {{model_name_or_path: {model}, dtype: float32, lora: {{r: 2, alpha: 4}}}}
data:
  rows: {{path: rows.jsonl}}
stages:
  sft: {{data: rows, max_steps: 1, eval_prompts: 0, max_new_tokens: 8}}
  later: {{kind: sft, policy: sft, data: rows, max_steps: 2, eval_prompts: 0, max_new_tokens: 8}}
  rm: {{kind: toy-rm, policy: sft, data: rows}}
"""


@pytest.fixture
def used(project: Project, tiny_model: Path) -> Project:
    project.rows(30)
    project.write(RECIPE.format(model=tiny_model), "used.yaml")
    return project


@pytest.fixture
def made(used: Project) -> Project:
    done = used.command("run", "used.yaml", "sft")
    assert done.returncode == 0, done.stderr
    return used


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["chat", "used.yaml", "stf"], "did you mean 'sft'"),
        (["chat", "used.yaml", "rm"], "the stage 'rm' makes no policy"),
        (["chat", "used.yaml", "base", "base"], "named twice"),
        (["chat", "used.yaml", "sft"], "posttune run used.yaml sft"),
        (["export", "used.yaml", "sft"], "Missing option"),
        (["export", "used.yaml", "sft", "--to", "out"], "posttune run used.yaml sft"),
        (["export", "used.yaml", "base", "--to", "runs/used/x"], "lies in the run folder"),
        (["export", "used.yaml", "base", "--to", "runs/used"], "lies in the run folder"),
        (["export", "used.yaml", "base", "--to", "out", "--format", "onnx"], "--format"),
    ],
    ids=" ".join,
)
def test_wrong_command_ends_with_2_and_one_message(used: Project, arguments: list[str], problem: str) -> None:
    done = used.command(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("error:")) == (2, "", 1)
    assert problem in done.stderr
    assert not (used.root / "runs").exists() and not (used.root / "out").exists()


def test_chat_and_export_use_what_the_stage_has_published(made: Project) -> None:
    command = [sys.executable, "-m", "pipeline", "chat", "used.yaml", "--max-new-tokens", "4"]
    chat = subprocess.run(command, input="hello\n", cwd=made.root, env=made.environment, capture_output=True, text=True)
    assert (chat.returncode, chat.stderr) == (0, "")
    assert chat.stdout.startswith("base | sft on ")  # `later` is not made: the last policy that is
    done = made.command("export", "used.yaml", "sft", "--to", "out", "--check", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "check: 3 of 3 greedy answers" in done.stdout and "serve: transformers serve" in done.stdout
    assert (made.root / "out" / "model.safetensors").is_file()


def test_damaged_artifact_is_refused(made: Project) -> None:
    weights = made.stage_folder("sft", "used") / "output" / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for command in (["chat", "used.yaml", "sft"], ["export", "used.yaml", "sft", "--to", "out"]):
        done = made.command(*command)
        assert done.returncode == 2 and "SHA-256" in done.stderr
    assert not (made.root / "out").exists()
