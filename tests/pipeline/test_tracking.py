"""metrics.jsonl always, W&B as a guest that can neither stop nor hold up a stage."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import wandb_file
from toy_project import CHAIN, Project

from pipeline.tracking import Tracker

SETTINGS = {
    "project": "p",
    "entity": None,
    "mode": "offline",
    "group": "chain-1",
    "job_type": "toy",
    "name": "chain-sft",
    "config": {"learning_rate": 0.5, "seed": 17},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run").mkdir()
    return tmp_path / "run"


def logged(folder: Path) -> list[tuple[int, float]]:
    lines = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    return [(entry["step"], entry["loss"]) for entry in map(json.loads, lines)]


def track(folder: Path, steps: range, said: list[str] | None = None, **changed: Any) -> float:
    """Log a loss of 1/step at each step, with W&B; the seconds it took."""
    start = time.monotonic()
    tracker = Tracker(folder, {**SETTINGS, **changed}, (said if said is not None else []).append, finish_seconds=5)
    for step in steps:
        tracker.log(step, {"loss": 1 / step})
    tracker.finish({"final/loss": 0.25})
    return time.monotonic() - start


def test_metrics_are_lines_with_step_time_and_values(folder: Path) -> None:
    tracker = Tracker(folder, None, print)
    tracker.log(1, {"loss": 0.5, "objective/kl": 2})
    (line,) = (folder / "metrics.jsonl").read_text("utf-8").splitlines()
    entry = json.loads(line)
    assert abs(entry.pop("time") - time.time()) < 5
    assert entry == {"step": 1, "loss": 0.5, "objective/kl": 2.0}


def test_rewind_drops_what_comes_again_and_a_torn_line(folder: Path) -> None:
    tracker = Tracker(folder, None, print)
    for step in (1, 2, 3, 4):
        tracker.log(step, {"loss": step})
    with (folder / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 5, "lo')
    again = Tracker(folder, None, print)
    again.rewind(2)
    again.log(3, {"loss": 30})
    assert logged(folder) == [(1, 1.0), (2, 2.0), (3, 30.0)]
    assert again.state["high_water"] == 4


def test_rewind_of_a_run_without_metrics_is_nothing(folder: Path) -> None:
    tracker = Tracker(folder, None, print)
    tracker.rewind(0)
    assert (tracker.state["high_water"], logged(folder)) == (-1, [])


def test_seconds_add_up_over_attempts(folder: Path) -> None:
    Tracker(folder, None, print).finish()
    state = json.loads((folder / "state.json").read_text("utf-8"))
    (folder / "state.json").write_text(json.dumps({**state, "seconds": 100.0}), "utf-8")
    tracker = Tracker(folder, None, print)
    tracker.finish()
    assert 100 <= tracker.state["seconds"] < 101


def test_wandb_run_holds_group_type_name_config_and_metrics(folder: Path) -> None:
    track(folder, range(1, 4))
    run, config, rows = wandb_file.read(folder)
    assert (run.project, run.run_group, run.job_type, run.display_name) == ("p", "chain-1", "toy", "chain-sft")
    assert (config["learning_rate"], config["seed"]) == (0.5, 17)
    assert [(row["_step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]


def go_on(folder: Path, at: int, end: int) -> None:
    """Resume at step `at` and log the steps up to `end`."""
    tracker = Tracker(folder, SETTINGS, print)
    tracker.rewind(at)
    for step in range(at + 1, end + 1):
        tracker.log(step, {"loss": 1 / step})
    tracker.finish({})


def test_wandb_has_every_step_once_and_one_id_after_a_resume(folder: Path) -> None:
    track(folder, range(1, 5))
    first, _, _ = wandb_file.read(folder)
    go_on(folder, at=2, end=6)
    second, _, rows = wandb_file.read(folder)
    assert second.run_id == first.run_id
    assert [(row["_step"], row["loss"]) for row in rows] == [(step, 1 / step) for step in range(1, 7)]
    assert [step for step, _ in logged(folder)] == [1, 2, 3, 4, 5, 6]


def test_wandb_has_every_step_once_when_the_first_attempt_was_killed_before_wandb_took_any(folder: Path) -> None:
    tracker = Tracker(folder, None, print)  # as if killed: W&B starts in seconds, the first steps take milliseconds
    for step in (1, 2, 3):
        tracker.log(step, {"loss": 1 / step})
    go_on(folder, at=3, end=5)
    assert [row["_step"] for row in wandb_file.read(folder)[2]] == [1, 2, 3, 4, 5]


def test_wandb_gets_only_later_steps_after_a_resume_when_the_earlier_were_synced(folder: Path) -> None:
    track(folder, range(1, 5))
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    file.with_name(f"{file.name}.synced").touch()
    go_on(folder, at=2, end=6)
    file.parent.rename(folder / "synced")
    assert [row["_step"] for row in wandb_file.read(folder)[2]] == [5, 6]


def test_stage_goes_on_when_wandb_cannot_write_its_folder(folder: Path) -> None:
    (folder / "wandb").write_text("a file in the way", "utf-8")
    said: list[str] = []
    assert track(folder, range(1, 4), said) < 8
    assert len(logged(folder)) == 3


def test_stage_goes_on_when_wandb_raises_at_init(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**settings: Any) -> None:
        raise SystemExit("quota")

    broken = ModuleType("wandb")
    broken.init, broken.Settings = refuse, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", broken)
    said: list[str] = []
    assert track(folder, range(1, 4), said) < 2
    assert len(logged(folder)) == 3
    assert said == ["W&B is off for the rest of this stage (SystemExit: quota); metrics.jsonl goes on"]


def test_stage_goes_on_when_wandb_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = ModuleType("wandb")
    stuck.init, stuck.Settings = lambda **settings: time.sleep(60), dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", stuck)
    said: list[str] = []
    start = time.monotonic()
    tracker = Tracker(folder, SETTINGS, said.append, finish_seconds=0.5)
    tracker.log(1, {"loss": 1.0})
    tracker.finish()
    assert time.monotonic() - start < 2
    assert said == ["W&B does not answer; its run is left as it is, metrics.jsonl is complete"]


def test_mode_auto_is_offline_without_a_key_and_online_with_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.tracking import resolve_mode

    assert resolve_mode("auto") == "offline"
    (folder.parent / ".netrc").write_text("machine api.wandb.ai login user password key\n", "utf-8")
    (folder.parent / ".netrc").chmod(0o600)
    assert resolve_mode("auto") == "online"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert (resolve_mode("auto"), resolve_mode("offline")) == ("disabled", "offline")


WANDB = CHAIN + "tracking: {wandb: {project: p, mode: %s}}\n"


def test_run_with_wandb_records_the_stage_with_its_inputs(project: Project) -> None:
    project.write(WANDB % "offline")
    assert project.command("run", "chain.yaml", "rm").returncode == 0
    run, config, rows = wandb_file.read(project.stage_folder("rm"))
    index = json.loads((project.root / "runs/chain/index.json").read_text("utf-8"))
    assert run.run_group == f"chain-{index['id']}"
    assert run.display_name == f"chain-rm-{index['stages']['rm'][:8]}"
    manifest = json.loads((project.stage_folder("sft") / "manifest.json").read_text("utf-8"))
    assert config["input_digests"] == {"sft": manifest["digest"]}
    assert [row["_step"] for row in rows] == [1, 2, 3, 4, 5, 6]


@pytest.fixture
def black_hole() -> Iterator[str]:
    """A server that takes connections and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


TRACKED = """
import sys, time
from pathlib import Path
from pipeline.tracking import Tracker
settings = {"project": "p", "entity": None, "mode": sys.argv[2], "group": "g", "job_type": "t", "name": "n"}
settings["config"] = {}
tracker = Tracker(Path(sys.argv[1]), settings, lambda line: print(line, flush=True), finish_seconds=4)
print("ready", flush=True)
for step in range(1, 21):
    tracker.log(step, {"loss": 1 / step})
    time.sleep(0.1)
start = time.monotonic()
tracker.finish({})
print(f"finish {time.monotonic() - start:.1f}", flush=True)
from pipeline.worker import leave
leave(0)
"""


def tracked(folder: Path, mode: str, **environment: str) -> subprocess.Popen[str]:
    """A process that logs 20 steps in two seconds."""
    return subprocess.Popen(
        [sys.executable, "-c", TRACKED, str(folder), mode],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def test_run_is_not_held_up_when_the_network_is_away(folder: Path, black_hole: str) -> None:
    start = time.monotonic()
    process = tracked(folder, "online", WANDB_BASE_URL=black_hole, WANDB_API_KEY="0123456789" * 4)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, len(logged(folder))) == (0, 20)
    assert time.monotonic() - start < 12, out + err


def test_run_is_not_held_up_when_wandbs_service_is_killed(folder: Path) -> None:
    process = tracked(folder, "offline")
    end = time.monotonic() + 10
    while not (services := list(descendants(process.pid))) and time.monotonic() < end:
        time.sleep(0.05)
    assert services
    time.sleep(0.5)
    for service in services:
        os.kill(service, signal.SIGKILL)
    start = time.monotonic()
    out, err = process.communicate(timeout=30)
    assert (process.returncode, len(logged(folder))) == (0, 20), out + err
    assert time.monotonic() - start < 12, out + err


def descendants(pid: int) -> Iterator[int]:
    """The processes started by any thread of `pid` (Linux)."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        yield from (int(child) for child in task.read_text("utf-8").split())
