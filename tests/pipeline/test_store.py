"""The run folder of a recipe: who owns it, and which run of a stage is the current one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from toy_project import CHAIN, Project

from pipeline.errors import UserError
from pipeline.recipe import load_recipe
from pipeline.store import Store


def test_torn_files_of_a_killed_engine_go_and_those_of_a_running_one_stay(project: Project) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    names = [f"index.json.tmp-{ended.stdout.strip()}", f"index.json.tmp-{os.getppid()}"]
    Path("runs/chain").mkdir(parents=True)
    for name in names:
        Path("runs/chain", name).write_text("{", "utf-8")
    Store(Path("runs"), load_recipe("chain.yaml")).create()
    assert [path.name for path in Path("runs/chain").glob("*.tmp-*")] == names[1:]


def test_reading_a_store_creates_nothing(project: Project) -> None:
    folder = Store(Path("runs"), load_recipe("chain.yaml"))
    assert (folder.id, folder.last_fingerprint("sft"), folder.finished("sft")) == ("unsaved", None, None)
    assert not Path("runs").exists()


def test_second_recipe_with_the_same_name_is_refused(project: Project) -> None:
    Store(Path("runs"), load_recipe("chain.yaml")).create()
    project.write(CHAIN, "other.yaml")
    with pytest.raises(UserError, match=r"belongs to the recipe chain\.yaml") as caught:
        Store(Path("runs"), load_recipe("other.yaml"))
    assert "other.yaml" in caught.value.remedy


def test_recipe_that_was_moved_keeps_its_runs(project: Project) -> None:
    Store(Path("runs"), load_recipe("chain.yaml")).create()
    Path("chain.yaml").rename("moved.yaml")
    moved = Store(Path("runs"), load_recipe("moved.yaml"))
    moved.create()
    assert json.loads(Path("runs/chain/index.json").read_text("utf-8"))["recipe"] == "../../moved.yaml"


def test_recipe_owns_its_runs_from_any_working_directory(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(Path("runs"), load_recipe("chain.yaml")).create()
    monkeypatch.chdir(project.root.parent)
    assert Store(project.root / "runs", load_recipe(project.root / "chain.yaml")).id != "unsaved"


def test_id_is_kept_and_pointers_of_another_process_too(project: Project) -> None:
    first, second = (Store(Path("runs"), load_recipe("chain.yaml")) for _ in range(2))
    first.create()
    second.create()
    first.point("sft", "a" * 64)
    second.point("rm", "b" * 64)
    again = Store(Path("runs"), load_recipe("chain.yaml"))
    assert (again.id, again.last_fingerprint("sft"), again.last_fingerprint("rm")) == (first.id, "a" * 64, "b" * 64)


def test_withdraw_leaves_no_file_unless_a_stage_has_a_run(project: Project) -> None:
    folder = Store(Path("runs"), load_recipe("chain.yaml"))
    folder.create()
    folder.point("sft", "a")
    folder.withdraw()
    assert Path("runs/chain/index.json").exists()
    folder.point("sft", None)
    folder.withdraw()
    assert list(Path("runs/chain").iterdir()) == []
