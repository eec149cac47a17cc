"""Checkpoints, artifacts and models that somebody has tampered with, through the whole command."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from malformed import tampered
from malformed.run_folder import seal
from test_hostile import assert_one_message, files, settle
from toy_project import Project

from pipeline import report

RECIPE = """\
name: whole
seed: 3
model: {model_name_or_path: model, lora: {r: 2, alpha: 4}}
data:
  rows: {path: rows.jsonl}
  ranked: {path: ranked.jsonl}
stages:
  sft: {data: rows, max_steps: 2, save_steps: 1, eval_prompts: 0, max_new_tokens: 4}
  rm: {policy: sft, data: ranked, max_steps: 1, normalize_prompts: 2, max_new_tokens: 4}
  ppo: {policy: sft, data: rows, total_episodes: 4, rollout_batch_size: 4, max_new_tokens: 4, eval_prompts: 0}
"""
TEMPLATE_SECONDS = 0.5


@dataclass(frozen=True)
class Forked:
    """A working directory, and the command in a fork of this process: torch is imported once for all cases."""

    root: Path

    def command(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = self.root / "out.txt", self.root / "err.txt"
        child = os.fork()
        if child == 0:
            self._be(out, err, arguments)
        _, status = os.waitpid(child, 0)
        return os.waitstatus_to_exitcode(status), out.read_text("utf-8"), err.read_text("utf-8")

    def _be(self, out: Path, err: Path, arguments: tuple[str, ...]) -> None:
        import torch

        from pipeline import cli, launch

        try:
            os.chdir(self.root)
            os.environ.update(HOME=str(self.root), HF_HUB_OFFLINE="1", POSTTUNE_CACHE=str(self.root / "cache"))
            sys.path.insert(0, str(self.root))
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
            sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
            torch.set_num_threads(1)  # the other threads of torch's pools are not in a fork: it makes new ones
            launch.run_worker = run_worker_in_a_fork
            cli.main(list(arguments))
        except SystemExit as done:
            os._exit(int(done.code or 0))
        finally:
            os._exit(99)


def run_worker_in_a_fork(processes: object, job: Path, lock: int) -> object:
    """In place of a new Python process: the same worker, without its six seconds of imports."""
    import torch

    from pipeline import worker
    from pipeline.launch import Ended
    from stages.modeling import chat

    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            chat.TEMPLATE_SECONDS = TEMPLATE_SECONDS
            sys.argv = ["worker", str(job)]
            worker.main()
        finally:
            os._exit(98)
    _, status = os.waitpid(child, 0)
    return Ended(os.waitstatus_to_exitcode(status), False)


@pytest.fixture(scope="module")
def whole(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose sft and rm have run."""
    import peft  # noqa: F401
    import transformers  # noqa: F401

    root = tmp_path_factory.mktemp("whole")
    project = Project(root, {})
    project.rows(30)
    row = {"prompt": [{"role": "user", "content": "ask"}], "completions": ["good", "bad"], "ranks": [1, 2]}
    ranked = [{**row, "prompt": [{"role": "user", "content": f"ask {i}"}]} for i in range(30)]
    (root / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ranked), "utf-8")
    shutil.copytree(tiny_model, root / "model")
    (root / "canary_module.py").write_text(tampered.CODE, "utf-8")
    project.write(RECIPE, "whole.yaml")
    code, out, err = Forked(root).command("run", "whole.yaml", "rm")
    assert code == 0, out + err
    return root


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Forked:
    """A copy of that project to tamper with; the working directory is in it."""
    shutil.copytree(whole, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    settle("whole.yaml", capsys)
    return Forked(tmp_path / "copy")


def stage_folder(stage: str) -> Path:
    (only,) = Path("runs/whole", stage).iterdir()
    return only


def refused(copy: Forked, stage: str, where: str, problem: str) -> None:
    if Path("runs").exists():
        report.write(Path("runs/whole"))  # a report older than what it shows would be written anew
    before = files(Path("runs"))
    assert_one_message(*copy.command("run", "whole.yaml", stage), where, problem)
    assert files(Path("runs")) == before


@pytest.mark.parametrize("case", tampered.ADAPTERS, ids=lambda case: case.id)
def test_adapter_is_refused(copy: Forked, case: tampered.Case) -> None:
    case.change(stage_folder("sft") / "output")
    seal(stage_folder("sft") / "manifest.json")
    refused(copy, "rm", case.where, case.problem)


@pytest.mark.parametrize("case", tampered.HEADS, ids=lambda case: case.id)
def test_reward_model_is_refused(copy: Forked, case: tampered.Case) -> None:
    case.change(stage_folder("rm") / "output")
    seal(stage_folder("rm") / "manifest.json")
    refused(copy, "ppo", case.where, case.problem)


@pytest.mark.parametrize("case", tampered.CHECKPOINTS, ids=lambda case: case.id)
def test_checkpoint_is_refused(copy: Forked, case: tampered.Case) -> None:
    folder = stage_folder("sft") / "checkpoints/step-000002"
    case.change(folder)
    seal_checkpoint(folder)
    (stage_folder("sft") / "manifest.json").unlink()
    shutil.rmtree(stage_folder("sft") / "output")
    refused(copy, "sft", "runs/whole/sft/", case.problem)


def seal_checkpoint(folder: Path) -> None:
    """Make its manifest vouch for the files that are there now."""
    held = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "MANIFEST.json"}
    entries = {n: {"size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in held.items()}
    (folder / "MANIFEST.json").write_text(json.dumps(entries), "utf-8")


@pytest.mark.parametrize("change", [case[1] for case in tampered.DAMAGED], ids=[case[0] for case in tampered.DAMAGED])
def test_damaged_checkpoint_is_set_aside_and_the_one_before_gives_the_same(
    copy: Forked, change: Callable[[Path], None]
) -> None:
    made = json.loads((stage_folder("sft") / "manifest.json").read_text("utf-8"))["digest"]
    change(stage_folder("sft") / "checkpoints/step-000002")
    (stage_folder("sft") / "manifest.json").unlink()
    code, out, err = copy.command("run", "whole.yaml", "sft")
    assert (code, err) == (0, "")
    assert out.count("is damaged") == 1
    assert "going on from step 1" in out
    assert json.loads((stage_folder("sft") / "manifest.json").read_text("utf-8"))["digest"] == made


@pytest.mark.parametrize("case", tampered.MODELS, ids=lambda case: case.id)
def test_base_model_is_refused(copy: Forked, case: tampered.Case) -> None:
    shutil.rmtree("runs")
    case.change(copy.root / "model")
    refused(copy, "sft", case.where, case.problem)


@pytest.mark.parametrize(("problem", "content"), [case[1:] for case in tampered.GGUF],
                         ids=[case[0] for case in tampered.GGUF])  # fmt: skip
def test_gguf_is_refused(copy: Forked, problem: str, content: bytes) -> None:
    shutil.rmtree("runs")
    tampered.package(copy.root, content)
    recipe = Path("whole.yaml")
    recipe.write_text(recipe.read_text("utf-8").replace("path: model,", "path: 'package:hostile-model',"), "utf-8")
    refused(copy, "sft", "m.gguf", problem)
    assert not any((copy.root / "cache/models").glob("*/*"))
