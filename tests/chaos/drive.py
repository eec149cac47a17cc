"""One attempt after another at the same command, each of them under attack, until it is left in peace and ends."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
HOOK = Path(__file__).parent / "hook"
PATIENCE = 300.0  # seconds an attempt may take


@dataclass(frozen=True)
class Ended:
    """How an attempt ended, and whether what was planned for it took place."""

    code: int
    said: str
    struck: bool


@dataclass(frozen=True)
class Trial:
    """A working directory in which one command is run until it succeeds."""

    root: Path
    arguments: tuple[str, ...]  # of `posttune run`
    environment: dict[str, str] = field(default_factory=dict)

    def folder(self, stage: str) -> Path:
        """The one run of a stage."""
        (only,) = (self.root / "runs/chaos" / stage).iterdir()
        return only

    def attempt(self, *attacks: dict[str, Any], kill_after: float | None = None) -> Ended:
        """Run the command once, under attacks of the hook, or with its worker killed after some seconds."""
        told = [self.root / f"told-{place}" for place in range(len(attacks))]
        for file in told:
            file.unlink(missing_ok=True)
        process = self._start([{**attack, "told": str(file)} for attack, file in zip(attacks, told, strict=True)])
        struck = kill_after is not None and _kill_worker(process, kill_after)
        for attack, file in zip(attacks, told, strict=True):
            if attack["do"] == "SIGSTOP":
                _wake(process, file)
        try:
            said, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said = (process.communicate()[0] or "") + f"\nno end within {PATIENCE:.0f} s"
        self._wait_for_locks()
        return Ended(process.returncode, said, struck or (bool(told) and all(file.exists() for file in told)))

    def _start(self, attacks: list[dict[str, Any]]) -> subprocess.Popen[str]:
        keep = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "COVERAGE"))}
        environment = {
            **keep,
            "HOME": str(self.root / "home"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": os.pathsep.join([str(HOOK), str(ROOT)]),
            **self.environment,
            "CHAOS": json.dumps(attacks),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", "chaos.yaml", *self.arguments],
            cwd=self.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _wait_for_locks(self) -> None:
        """A worker whose engine was killed ends by itself, a moment later."""
        for lock in self.root.glob("runs/chaos/*/*/lock"):
            with lock.open("r+") as stream:
                _until(lambda stream=stream: _lockable(stream), 30)  # type: ignore[misc]


def _lockable(stream: Any) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _kill_worker(engine: subprocess.Popen[str], seconds: float) -> bool:
    """Kill the engine's child so many seconds after its start; False where the engine ended before."""
    _until(lambda: engine.poll() is not None or children(engine.pid), 30)
    time.sleep(seconds)
    if engine.poll() is not None:
        return False
    for child in children(engine.pid):
        os.kill(child, signal.SIGKILL)
        return True
    return False


def _wake(engine: subprocess.Popen[str], told: Path) -> None:
    """SIGCONT to the worker that has stopped itself, half a second later."""
    _until(lambda: engine.poll() is not None or told.exists(), PATIENCE)
    time.sleep(0.5)
    if told.exists():
        os.kill(int(told.read_text("utf-8")), signal.SIGCONT)


def children(pid: int) -> list[int]:
    """The processes it started (Linux)."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()]
    except OSError:
        return []


def _until(condition: Callable[[], Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
