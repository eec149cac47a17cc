"""How a stage's process is started: one Python process, or torch's launcher over several."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from pipeline import lifeline
from pipeline.recipe import LaunchConfig

# Each asks for a checkpoint and an end. SIGUSR1 is the warning that Slurm's users ask for (`--signal=USR1@120`).
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
DEFAULTS = {  # of a worker's environment; the user's own come first
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # How long torch's threads on Linux spin before they sleep. Left alone they spin for milliseconds, and a machine
    # with one other busy process trains up to five times more slowly than this; an idle one loses about 3%.
    "GOMP_SPINCOUNT": "20000",
}


def command(launch: LaunchConfig, job: Path) -> list[str]:
    """The command line that runs the job described in the file `job`."""
    worker = ["-m", "pipeline.worker", str(job)]
    if _is_single(launch):
        return [sys.executable, *worker]
    # Not `accelerate launch`: without a GPU it starts one process whatever number it is given.
    options = ["--standalone", "--nproc-per-node", str(launch.num_processes)]
    return [sys.executable, "-m", "pipeline.lifeline", *options, *worker]


@dataclass(frozen=True)
class Ended:
    """How a worker ended: its exit status (negative: the signal that ended it), and whether we were told to stop."""

    status: int
    told_to_stop: bool


def run_worker(launch: LaunchConfig, job: Path, lock: int) -> Ended:
    """Run the job in a process of its own, to its end.

    The child shares the run's lock, and ends when this process dies (lifeline.py).
    """
    watched, held = os.pipe()
    environment = {**DEFAULTS, **os.environ, lifeline.PIPE: str(watched)}
    # A signal that comes while the child still imports waits until the child can answer it (worker.main
    # unblocks); torch's launcher would never unblock, so it starts with them open.
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS if _is_single(launch) else ())
    log = os.open(job.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        # Slurm signals every process of a step, and torch's launcher would end on this one; workers answer it.
        with nullcontext() if _is_single(launch) else _ignored(signal.SIGUSR1):
            child = subprocess.Popen(
                command(launch, job),
                env=environment,
                stderr=None if _is_single(launch) else log,  # torch's launcher adds its own traceback to every failure
                pass_fds=(watched, lock),
                process_group=0,  # our signals only
            )
        os.close(watched)
        with _forward_signals(child) as forwarded:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            return Ended(child.wait(), bool(forwarded))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        os.close(held)
        os.close(log)


def _is_single(launch: LaunchConfig) -> bool:
    return launch.num_processes == 1


@contextmanager
def _ignored(number: int) -> Iterator[None]:
    """A process started in here ignores that signal unless it says otherwise."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextmanager
def _forward_signals(child: subprocess.Popen[bytes]) -> Iterator[list[int]]:
    """The signals go to the stage, which checkpoints and ends; a second Ctrl-C ends it at once.

    Yields the list of signals passed on so far.
    """
    forwarded: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        forwarded.append(number)
        if child.poll() is None:
            # torch's launcher passes SIGTERM on, and ends on SIGUSR1.
            child.send_signal(signal.SIGTERM if number == signal.SIGUSR1 else number)

    old = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield forwarded
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
