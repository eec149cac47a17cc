"""Run folders: publishing, manifests, locks, and who owns them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from toy_project import CHAIN, Project

from pipeline import files, stage_run
from pipeline.errors import StageFailed, UserError
from pipeline.recipe import load_recipe
from pipeline.stage_run import StageRun
from pipeline.store import Store

PRINT = "f" * 64
HOLD = """
import sys, time
from pathlib import Path
from pipeline import stage_run
with stage_run.locked(stage_run.StageRun("sft", "f" * 64, Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> StageRun:
    return StageRun("sft", PRINT, tmp_path / "sft" / PRINT[:12])


def publish(run: StageRun, text: str = "abc") -> None:
    stage_run.prepare(run, "kind: toy\n", {"material": {}})
    (run.unpublished / "inner").mkdir()
    (run.unpublished / "inner" / "w.txt").write_text(text, "utf-8")
    stage_run.publish(run, {"metrics": {}, "seconds": 1.0}, {"fragments": []})


def test_run_is_unfinished_until_it_is_published(run: StageRun) -> None:
    stage_run.prepare(run, "", {})
    assert run.manifest() is None
    publish(run)
    manifest = run.manifest()
    assert manifest is not None
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # of "abc"
    assert manifest["files"] == {"output/inner/w.txt": {"sha256": sha256, "size": 3}}
    assert not run.unpublished.exists()


def test_digest_depends_on_bits_and_names_alone(tmp_path: Path) -> None:
    digests = []
    for number, text in enumerate(("same", "same", "other")):
        run = StageRun("sft", f"{number}" * 64, tmp_path / str(number))
        publish(run, text)
        digests.append(run.digest)
    assert digests[0] == digests[1] != digests[2]


def test_run_is_unfinished_when_a_file_of_it_is_missing_or_cut(run: StageRun) -> None:
    publish(run)
    (run.output / "inner" / "w.txt").write_text("ab", "utf-8")
    assert run.manifest() is None
    (run.output / "inner" / "w.txt").unlink()
    assert run.manifest() is None


@pytest.mark.parametrize(
    "text", ["", "[1]", "{", f'{{"fingerprint": "{PRINT}"}}', '{"fingerprint": "other", "files": {}}']
)
def test_run_is_unfinished_when_its_manifest_is_torn_or_anothers(run: StageRun, text: str) -> None:
    publish(run)
    (run.folder / "manifest.json").write_text(text, "utf-8")
    assert run.manifest() is None


def test_publish_that_fails_leaves_no_manifest(run: StageRun) -> None:
    stage_run.prepare(run, "", {})
    run.output.mkdir()
    (run.output / "in the way").touch()
    with pytest.raises(StageFailed, match="could not be published"):
        stage_run.publish(run, {}, {})
    assert run.manifest() is None


def test_write_atomically_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    files.write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(file, "\ud800")
    assert file.read_text("utf-8") == "old"


def test_discard_leaves_only_the_log_unless_there_is_a_checkpoint(run: StageRun) -> None:
    stage_run.prepare(run, "", {})
    run.log.write_text("said", "utf-8")
    assert stage_run.discard(run, {})
    assert [path.name for path in run.folder.iterdir()] == ["log.txt"]
    (run.checkpoints / "step-000002").mkdir(parents=True)
    (run.checkpoints / "step-000002" / "MANIFEST.json").write_text("{}", "utf-8")
    (run.folder / "state.json").write_text("before", "utf-8")
    before = stage_run.remember(run)
    stage_run.prepare(run, "", {})
    (run.folder / "state.json").write_text("after", "utf-8")
    assert not stage_run.discard(run, before)
    assert run.has_checkpoint
    assert sorted(path.name for path in run.folder.iterdir()) == ["checkpoints", "log.txt", "state.json"]
    assert (run.folder / "state.json").read_text("utf-8") == "before"


def test_torn_files_of_a_killed_process_go_when_the_run_goes_on(run: StageRun) -> None:
    run.folder.mkdir(parents=True)
    (run.folder / "result.json.tmp-77").write_text("{", "utf-8")
    stage_run.prepare(run, "", {})
    assert not list(run.folder.glob("*.tmp-*"))


def test_torn_files_of_a_killed_engine_go_and_those_of_a_running_one_stay(project: Project) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    names = [f"index.json.tmp-{ended.stdout.strip()}", f"index.json.tmp-{os.getppid()}"]
    Path("runs/chain").mkdir(parents=True)
    for name in names:
        Path("runs/chain", name).write_text("{", "utf-8")
    Store(Path("runs"), load_recipe("chain.yaml")).create()
    assert [path.name for path in Path("runs/chain").glob("*.tmp-*")] == names[1:]


def hold(folder: Path) -> subprocess.Popen[str]:
    """A process that has the lock by the time this returns."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_lock_refuses_a_second_process_and_is_free_after_a_kill(run: StageRun) -> None:
    holder = hold(run.folder)
    try:
        with (
            pytest.raises(UserError, match=f"process {holder.pid} is already running this stage"),
            stage_run.locked(run),
        ):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with stage_run.locked(run):
        assert (run.folder / "lock").read_text("utf-8") == str(os.getpid())


def test_lock_is_free_after_an_error_inside(run: StageRun) -> None:
    with pytest.raises(KeyError), stage_run.locked(run):
        raise KeyError
    with stage_run.locked(run):
        pass


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


def test_what_was_paid_for_outlives_attempts_but_not_force_or_the_end(run: StageRun) -> None:
    reply = run.paid / "replies.jsonl"

    def pay() -> None:
        run.paid.mkdir(parents=True, exist_ok=True)
        reply.write_text("{}", "utf-8")

    pay()
    stage_run.forget(run)
    assert stage_run.discard(run, {}) and reply.exists()
    (run.checkpoints / "step-000001").mkdir(parents=True)
    (run.checkpoints / "step-000001" / "MANIFEST.json").write_text("{}", "utf-8")
    assert not stage_run.discard(run, {}) and reply.exists() and run.has_checkpoint
    stage_run.forget(run, forced=True)
    assert not reply.exists()
    pay()
    stage_run.prepare(run, "", {})
    stage_run.publish(run, {}, {})
    assert not reply.exists()
