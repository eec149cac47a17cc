"""verify and gc on a finished chain: what is damaged is found, what nothing names is listed and, asked for, removed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import toy_project
from toy_project import Project

from pipeline import stage_run
from pipeline.stage_run import StageRun


@pytest.fixture(scope="module")
def finished(plugins: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = toy_project.make(tmp_path_factory.mktemp("upkeep") / "project", plugins)
    assert project.command("run", "chain.yaml").returncode == 0
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    """A copy that a test may damage."""
    shutil.copytree(finished.root, tmp_path / "copy", symlinks=True)
    return Project(tmp_path / "copy", finished.environment)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def rename_in_manifest(path: Path) -> None:
    manifest = json.loads(path.read_text("utf-8"))
    manifest["files"]["../../../../secret"] = manifest["files"].popitem()[1]
    path.write_text(json.dumps(manifest), "utf-8")


def test_whole_run_folder_is_as_written(project: Project) -> None:
    result = project.command("verify", "chain.yaml")
    assert result.returncode == 0 and not result.stderr
    assert result.stdout.count("as written") == 4  # the index and three stages


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("output/weights.json", flip, "output/weights.json is not the file that was published"),
        ("output/weights.json", Path.unlink, "output/weights.json is missing"),
        ("output/more", Path.touch, "output/more is not in the manifest"),
        ("manifest.json", lambda path: path.write_text("{"), "manifest.json: not JSON"),
        ("manifest.json", lambda path: path.write_text('{"files": 3}'), "manifest.json: its fingerprint is another's"),
        ("manifest.json", rename_in_manifest, "secret' is not a file of its output"),
        ("checkpoints/step-000006/weights.json", flip, "checkpoints/step-000006: weights.json does not match"),
        ("checkpoints/step-000004/MANIFEST.json", flip, "checkpoints/step-000004: "),
    ],
)
def test_damage_is_found(project: Project, file: str, damage: Callable[[Path], object], told: str) -> None:
    damage(project.stage_folder("rm") / file)
    result = project.command("verify", "chain.yaml")
    assert result.returncode == 1
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("rm/"))
    assert told in line
    assert result.stdout.count("as written") == 3
    assert "1 of 4 places are not as they were written" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize("text", ["", "[]", '{"stages": 3}'])
def test_broken_index_is_told(project: Project, text: str) -> None:
    (project.root / "runs/chain/index.json").write_text(text, "utf-8")
    result = project.command("verify", "chain.yaml")
    assert result.returncode == 2 and "is not the index that posttune wrote" in result.stderr


def test_run_that_the_index_names_and_is_gone_is_told(project: Project) -> None:
    shutil.rmtree(project.root / "runs/chain/ppo")
    result = project.command("verify", "chain.yaml")
    assert result.returncode == 1 and "the run of ppo that it names is not there" in result.stdout


def test_what_is_in_use_stays(project: Project) -> None:
    before = sorted(project.root.rglob("*"))
    result = project.command("gc", "chain.yaml", "--delete")
    assert (result.returncode, result.stdout) == (0, "everything here is in use\n")
    assert sorted(project.root.rglob("*")) == before


def test_runs_under_earlier_settings_are_listed_and_removed_when_asked(project: Project) -> None:
    old = project.stage_folder("ppo")
    assert project.command("run", "chain.yaml", "--set", "ppo.steps=7").returncode == 0
    leftovers = [
        project.stage_folder("rm") / "output.tmp",
        project.stage_folder("rm") / "checkpoints/step-000008.tmp-7",
    ]
    broken = project.stage_folder("sft") / "checkpoints/broken-step-000002"
    for folder in (*leftovers, broken):
        folder.mkdir()
        (folder / "part").write_bytes(bytes(10**6))
    kept = {
        path for path in project.root.rglob("*") if not any(path.is_relative_to(x) for x in (old, *leftovers, broken))
    }
    listed = project.command("gc", "chain.yaml", "--set", "ppo.steps=7")
    assert listed.returncode == 0 and old.exists()
    for path in (old, *leftovers, broken):
        assert str(path.relative_to(project.root)) in listed.stdout
    assert "3.0 MB in all; --delete removes it" in listed.stdout
    assert project.command("gc", "chain.yaml", "--set", "ppo.steps=7", "--delete").returncode == 0
    assert {path for path in project.root.rglob("*")} == kept
    assert "skip" in project.command("plan", "chain.yaml", "ppo", "--set", "ppo.steps=7").stdout


def test_run_that_a_process_works_in_stays(project: Project) -> None:
    old = project.stage_folder("ppo")
    project.command("run", "chain.yaml", "--set", "ppo.steps=7")
    with stage_run.locked(StageRun("ppo", old.name, old)):
        result = project.command("gc", "chain.yaml", "--set", "ppo.steps=7", "--delete")
    assert "in use: stays" in result.stdout and "0.0 MB freed" in result.stdout
    assert (old / "manifest.json").exists()


def test_runs_are_not_judged_without_an_index(project: Project) -> None:
    (project.root / "runs/chain/index.json").unlink()
    before = sorted(project.root.rglob("*"))
    result = project.command("gc", "chain.yaml", "--delete")
    assert result.returncode == 2 and "has no index" in result.stderr
    assert sorted(project.root.rglob("*")) == before


def test_run_that_the_recipe_would_take_up_again_stays(project: Project) -> None:
    old = project.stage_folder("ppo")
    project.command("run", "chain.yaml", "--set", "ppo.steps=7")
    assert "everything here is in use" in project.command("gc", "chain.yaml", "--delete").stdout
    assert (old / "manifest.json").exists()


def test_run_of_a_stage_that_the_recipe_no_longer_has_is_listed(project: Project) -> None:
    project.write(toy_project.CHAIN.replace("  ppo: {kind: toy-ppo, policy: sft, data: rows}\n", ""))
    assert f"runs/chain/ppo/{project.stage_folder('ppo').name}" in project.command("gc", "chain.yaml").stdout


def test_checkpoint_that_was_set_aside_is_no_damage(project: Project) -> None:
    broken = project.stage_folder("rm") / "checkpoints/broken-step-000002"
    broken.mkdir()
    (broken / "MANIFEST.json").write_text("{", "utf-8")
    assert project.command("verify", "chain.yaml").returncode == 0


def test_stage_that_is_running_is_not_looked_at(project: Project) -> None:
    run = project.stage_folder("rm")
    flip(run / "output/weights.json")
    with stage_run.locked(StageRun("rm", run.name, run)):
        result = project.command("verify", "chain.yaml")
    assert result.returncode == 0 and "in use: not looked at" in result.stdout


def test_nothing_to_look_after_before_the_first_run(project: Project) -> None:
    for command in ("verify", "gc"):
        result = project.command(command, "chain.yaml", "--runs", "others")
        assert result.returncode == 2 and "nothing has run yet" in result.stderr


def test_index_that_is_gone_is_told(project: Project) -> None:
    (project.root / "runs/chain/index.json").unlink()
    result = project.command("verify", "chain.yaml")
    assert result.returncode == 1 and "is missing: the next run writes it anew" in result.stdout


def test_status_says_of_a_running_stage_that_it_runs(project: Project) -> None:
    run = project.stage_folder("rm")
    with stage_run.locked(StageRun("rm", run.name, run)):
        (line,) = (x for x in project.command("status", "chain.yaml").stdout.splitlines() if x.startswith("rm "))
    assert line.split()[1] == "running"
