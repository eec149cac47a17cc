"""Fixtures shared by all tests: the toy stage kinds, a project to run them in, and a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
KINDS = {"toy": "toy", "toy-rm": "toy.reward", "toy-ppo": "toy.ppo"}

CHAIN = """\
name: chain
model: {model_name_or_path: base-model}
data:
  rows: {path: rows.jsonl}
stages:
  sft: {kind: toy, data: rows}
  rm: {kind: toy-rm, policy: sft, data: rows}
  ppo: {kind: toy-ppo, policy: sft, data: rows}
"""


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, is an installed distribution with the toy kinds."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "toy").symlink_to(TESTS / "toy")
    info = folder / "posttune_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: posttune-toy\nVersion: 1.0\n", "utf-8")
    lines = [f"{kind} = {package}" for kind, package in KINDS.items()]
    (info / "entry_points.txt").write_text("\n".join(["[posttune.stages]", *lines, ""]), "utf-8")
    return folder


@dataclass(frozen=True)
class Project:
    """A working directory with data, a base model folder and the toy kinds."""

    root: Path
    environment: dict[str, str]

    def write(self, text: str, name: str = "chain.yaml") -> Path:
        """Write a recipe; its path is relative to the working directory."""
        (self.root / name).write_text(text, "utf-8")
        return Path(name)

    def rows(self, count: int = 6, name: str = "rows.jsonl") -> None:
        """Write that many instructions."""
        turns = ([("user", f"question {i}"), ("assistant", f"answer {i}")] for i in range(count))
        rows = [{"messages": [{"role": role, "content": text} for role, text in pair]} for pair in turns]
        (self.root / name).write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start the command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", *arguments], cwd=self.root, env={**self.environment, **environment},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )

    def command(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run the command to its end."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def stage_folder(self, stage: str, recipe: str = "chain") -> Path:
        """The one run of a stage."""
        (only,) = (self.root / "runs" / recipe / stage).iterdir()
        return only

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """The metrics of that run."""
        lines = (self.stage_folder(stage) / "metrics.jsonl").read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def project(tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project with the recipe chain.yaml: sft -> rm -> ppo of toy kinds. Tests run in it."""
    root = tmp_path / "project"
    root.mkdir()
    monkeypatch.chdir(root)
    monkeypatch.syspath_prepend(str(plugins))
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "COVERAGE"))}
    made = Project(root, {**keep, "PYTHONPATH": str(plugins), "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"})
    (root / "base-model").mkdir()
    (root / "base-model" / "config.json").write_text("{}", "utf-8")
    made.rows()
    made.write(CHAIN)
    return made
