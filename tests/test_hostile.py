"""Run folders, checkpoints and models that somebody has tampered with: one message, no code run, nothing changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from malformed import run_folder
from toy_project import CHAIN, Project

from pipeline import cli, report


def files(folder: Path) -> dict[str, bytes]:
    """What a run folder holds, but for what a refused attempt may add to: its log, and the lock's last holder."""
    kept = {path for path in folder.rglob("*") if path.is_file() and path.name not in {"log.txt", "lock"}}
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in kept}


def assert_one_message(code: int, out: str, err: str, where: str, problem: str) -> None:
    """Exit code 2, and one message with the place, the finding and a remedy; no traceback, and no canary."""
    assert (code, err.count("error:")) == (2, 1), err
    finding, _, remedy = err.partition("\n  -> ")
    assert finding.startswith(f"error: {where}"), err
    assert problem in finding, err
    assert remedy.strip()
    assert "Traceback" not in out + err
    assert not Path("canary").exists()


@pytest.fixture(scope="module")
def chain(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose chain has run, and whose ppo has been stopped at a checkpoint."""
    root = tmp_path_factory.mktemp("chain")
    made = Project(root, {**os.environ, "PYTHONPATH": str(plugins), "HOME": str(root)})
    (root / "base-model").mkdir()
    (root / "base-model/config.json").write_text("{}", "utf-8")
    made.rows()
    made.write(CHAIN)
    assert made.command("run", "chain.yaml", "ppo").returncode == 0
    (made.stage_folder("ppo") / "manifest.json").unlink()
    return root


@pytest.fixture
def tampered(chain: Path, project: Project, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of that project to tamper with; the working directory is in it."""
    shutil.rmtree(project.root)
    shutil.copytree(chain, project.root)
    os.chdir(project.root)
    settle("chain.yaml", capsys)
    return project.root / "runs/chain"


def settle(recipe: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A copied file has another inode: let the cache of hashes know, so that what changes later is a test's."""
    assert call("plan", recipe) == 0
    capsys.readouterr()


def call(*arguments: str) -> int:
    """The command in this process, where no worker starts; its exit code."""
    with pytest.raises(SystemExit) as caught:
        cli.main(list(arguments))
    assert isinstance(caught.value.code, int)
    return caught.value.code


@pytest.mark.parametrize("case", run_folder.REFUSED, ids=lambda case: case.id)
def test_run_folder_is_refused(tampered: Path, capsys: pytest.CaptureFixture[str], case: run_folder.Case) -> None:
    case.apply(tampered)
    report.write(tampered)  # a report older than what it shows would be written anew
    before = files(tampered)
    again = ["--force", "rm"] if case.stage == "rm" else []  # it would be up to date, and nothing start from sft
    code = call("run", "chain.yaml", case.stage, *again)
    assert_one_message(code, *capsys.readouterr(), case.where, case.problem)
    assert files(tampered) == before


@pytest.mark.parametrize(("file", "change"), [case[1:] for case in run_folder.LOOKED_AT],
                         ids=[case[0] for case in run_folder.LOOKED_AT])  # fmt: skip
def test_file_that_is_only_looked_at_is_not_in_the_way(
    tampered: Path, capsys: pytest.CaptureFixture[str], file: str, change: Callable[[Path], None] | bytes
) -> None:
    run_folder.Case("", "", "", file, change).apply(tampered)
    before = files(tampered)
    for command in ("report", "status", "plan"):
        assert call(command, "chain.yaml") == 0
    out, err = capsys.readouterr()
    assert (err, "Traceback" in out) == ("", False)
    assert run_folder.MARKUP not in (tampered / "report.html").read_text("utf-8")
    after = files(tampered)
    assert {name for name in before if after[name] != before[name]} <= {"report.html", "hashes.json"}
    assert not Path("canary").exists()
