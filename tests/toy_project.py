"""A working directory with the toy stage kinds, and the texts that fixtures and tests share."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = {"toy": "toy", "toy-batch": "toy.batch", "toy-rm": "toy.reward", "toy-ppo": "toy.ppo", "toy-rows": "toy.rows"}

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


CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


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
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=self.root,
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
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


def make(root: Path, plugins: Path) -> Project:
    """An empty project with the recipe chain.yaml: sft -> rm -> ppo of toy kinds."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "COVERAGE"))}
    made = Project(root, {**keep, "PYTHONPATH": str(plugins), "HOME": str(root.parent), "HF_HUB_OFFLINE": "1"})
    (root / "base-model").mkdir(parents=True)
    (root / "base-model" / "config.json").write_text("{}", "utf-8")
    made.rows()
    made.write(CHAIN)
    return made
