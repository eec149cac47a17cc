"""A stage's folder: publishing, manifests, locks, and what is thrown away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import stage_run
from pipeline.errors import StageFailed, UserError
from pipeline.stage_run import StageRun

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
