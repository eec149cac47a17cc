"""The process in which one stage runs: `python -m pipeline.worker JOB.json`.

A process a stage gives each its own peak memory and clean libraries, and lets the engine outlive a
stage that the kernel kills. What the stage's libraries print goes to the run's log.txt.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import platform
import resource
import signal
import sys
import tempfile
import threading
import traceback
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NoReturn

from pipeline import lifeline, registry
from pipeline.contract import Artifact, Context, DataSource, ModelConfig, Result, Source, TaskConfig
from pipeline.errors import FAILED, INTERRUPTED, Interrupted, PosttuneError, disk_problem
from pipeline.files import write_atomically
from pipeline.launch import SIGNALS
from pipeline.terminal import Terminal
from pipeline.tracking import Tracker

PACKAGES = ("torch", "transformers", "peft", "datasets", "accelerate", "wandb", "tokenizers", "safetensors")


@dataclass(frozen=True)
class Job:
    """What the engine asks of a worker; written to a file, read back here."""

    stage: str
    kind: str
    folder: str
    config: dict[str, Any]
    model: dict[str, Any]
    seed: int
    inputs: dict[str, list[dict[str, Any]]]
    data: dict[str, list[dict[str, Any]]]
    wandb: dict[str, Any] | None
    debug: bool = False
    allow_drift: bool = False

    @property
    def place(self) -> Path:
        """The stage's folder; the file may name it by way of ~."""
        return Path(self.folder).expanduser()

    def context(self, tracker: Tracker, terminal: Terminal, should_stop: Any, chief: bool) -> Context:
        """The context the stage works in."""
        folder = self.place
        return Context(
            output=folder / "output.tmp",
            model=ModelConfig.model_validate(self.model),
            inputs={field: [_artifact(a) for a in given] for field, given in self.inputs.items()},
            data={field: [_source(s) for s in given] for field, given in self.data.items()},
            seed=self.seed,
            checkpoints=folder / "checkpoints",
            keep=folder / "kept",
            paid=folder / "paid",
            allow_drift=self.allow_drift,
            chief=chief,
            log_metrics=tracker.log,
            should_stop=should_stop,
            say=terminal.say,
            progress=terminal.progress,
            rewind=tracker.rewind,
        )


def main() -> None:
    """Run the job file named on the command line and exit with the stage's code."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text("utf-8")))
    if lifeline.PIPE in os.environ or not _is_alone():
        lifeline.hold()
    stop = _StopFlag()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # launch.py holds them back until here
    shown = _keep_terminal(job.place / "log.txt", job.debug)
    terminal = Terminal(shown if _is_chief() else sys.stderr, job.stage)
    leave(run(job, terminal, stop))


def leave(code: int) -> NoReturn:
    """End this process now: exit hooks of libraries (W&B's waits for its server) must not hold up the engine."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def run(job: Job, terminal: Terminal, stop: _StopFlag) -> int:
    """Run one stage; its result or its error is left in the run folder. Returns the exit code."""
    folder = job.place
    chief = _is_chief()
    # Of several processes one records; what the others would write is the same and goes nowhere.
    tracker = Tracker(folder if chief else Path(tempfile.mkdtemp()), job.wandb if chief else None, terminal.say)
    outcome = "failed"
    try:
        kind = registry.find(job.kind)
        config = registry.load(kind.config).model_validate(job.config)
        result: Result = registry.load(kind.run)(config, job.context(tracker, terminal, stop.is_set, chief))
        outcome = "finished"
    except BaseException as error:
        traceback.print_exc()
        error = Interrupted("stopped", remedy="run the same command again to go on") if _by_hand(error) else error
        outcome = "interrupted" if isinstance(error, Interrupted) else "failed"
        told = folder / "error.json"
        if isinstance(error, PosttuneError) or not told.exists():  # else it may only say that another process has ended
            with suppress(OSError):  # of a full disk the engine finds out by itself
                write_atomically(told, json.dumps(_describe(error)))
        return error.exit_code if isinstance(error, PosttuneError) else FAILED
    finally:
        tracker.finish(dict(result.metrics) if outcome == "finished" else None, outcome)
    if chief:
        write_atomically(folder / "result.json", json.dumps(_record(result, job, tracker)))
    return 0


class _StopFlag:
    """Set by the first of SIGNALS; the stage then checkpoints and ends. A second SIGINT ends it now."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def is_set(self) -> bool:
        return self._event.is_set()

    def _on_signal(self, number: int, frame: object) -> None:
        if self._event.is_set() and number == signal.SIGINT:
            os._exit(INTERRUPTED)
        self._event.set()


def _is_chief() -> bool:
    return int(os.environ.get("RANK", "0")) == 0


def _is_alone() -> bool:
    return os.environ.get("WORLD_SIZE", "1") == "1"


def _by_hand(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt)


def _describe(error: BaseException) -> dict[str, Any]:
    if isinstance(error, PosttuneError):
        return {"code": error.exit_code, "problem": error.problem, "where": error.where, "remedy": error.remedy}
    if isinstance(error, MemoryError):
        return {
            "code": FAILED,
            "problem": "out of memory",
            "where": "",
            "remedy": "see `posttune plan` for what to lower",
        }
    if problem := disk_problem(error):
        return {
            "code": FAILED,
            "problem": problem,
            "where": str(getattr(error, "filename", None) or ""),
            "remedy": "see to the disk (its space, its mount) and run again: the last checkpoint is intact",
        }
    text = str(error).strip().splitlines()
    return {
        "code": FAILED,
        "problem": f"{type(error).__name__}: {text[0] if text else 'no message'}",
        "where": "",
        "remedy": "",
    }


def _record(result: Result, job: Job, tracker: Tracker) -> dict[str, Any]:
    """What the manifest and the report will hold of this run."""
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_available()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    record = {
        "kind": job.kind,
        "metrics": dict(result.metrics),
        "seconds": tracker.state["seconds"],
        "peak_memory_mb": round(peak / (2**20 if sys.platform == "darwin" else 2**10)),
        "seed": job.seed,
        "device": torch.cuda.get_device_name() if torch and cuda else "cpu",
        "threads": torch.get_num_threads() if torch else 1,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
        "wandb_run_id": tracker.state.get("wandb_run_id"),
    }
    fragments = [{"type": type(f).__name__.lower(), **asdict(f)} for f in result.fragments]
    return {"record": record, "report": {"fragments": fragments}, "summary": list(result.summary)}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _artifact(given: Mapping[str, Any]) -> Artifact:
    path = Path(given["path"]).expanduser() if given["path"] else None
    return Artifact(given["name"], given["role"], path, given["digest"], given["seconds"])


def _source(given: Mapping[str, Any]) -> Source:
    return Source(
        given["name"],
        DataSource.model_validate(given["config"]),
        TaskConfig.model_validate(given["task"]),
        given["heldout_fraction"],
        given["salt"],
    )


def _keep_terminal(log: Path, debug: bool) -> Any:
    """Point stdout and stderr of this process at the log; give back the terminal for what we say ourselves."""
    terminal = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace", buffering=1)
    if debug:
        return terminal
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    logging.captureWarnings(True)
    warnings.simplefilter("default")
    faulthandler.enable()
    return terminal


if __name__ == "__main__":
    main()
