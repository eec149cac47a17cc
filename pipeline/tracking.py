"""Where a stage's metrics go: metrics.jsonl always, Weights & Biases when the recipe asks.

W&B is a guest: every call to it happens in a thread of its own, and nothing it does (an outage, a
folder it cannot write, a killed service) reaches the training loop.
"""

from __future__ import annotations

import json
import netrc
import os
import queue
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files import read_json, write_atomically

FINISH_SECONDS = 30.0  # how long the end of a stage waits for W&B
STATE = "state.json"
RUN_ID = re.compile("[0-9a-f]+")


def read_state(folder: Path) -> dict[str, Any]:
    """What the attempts before this one left in a stage's folder; UserError where no tracker wrote it."""
    file = folder / STATE
    kept = read_json(file)
    state = {"seconds": 0.0, "high_water": -1, **(kept or {})}
    numbers = all(isinstance(state[name], (int, float)) for name in ("seconds", "high_water"))
    run_id = state.get("wandb_run_id", "0")
    if (kept is None and file.exists()) or not numbers or not isinstance(run_id, str) or not RUN_ID.fullmatch(run_id):
        raise UserError(
            "is not the state that posttune wrote",
            where=str(file),
            remedy="delete it: the time spent before this attempt, and its W&B run, are then not gone on with",
        )
    return state


class Tracker:
    """Writes metrics for one stage run and keeps what a resume needs (`state.json`)."""

    def __init__(
        self,
        folder: Path,
        wandb: Mapping[str, Any] | None,
        say: Callable[[str], None],
        finish_seconds: float = FINISH_SECONDS,
    ) -> None:
        self._file = folder / "metrics.jsonl"
        self._state_file = folder / STATE
        self.state = read_state(folder)
        self._guest = _WandbGuest(folder, wandb, self.state, say) if wandb and wandb["mode"] != "disabled" else None
        self._finish_seconds = finish_seconds
        self._start = time.monotonic()
        self._seconds_before = float(self.state["seconds"])
        self.save_state()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Record `metrics` at `step`."""
        line = {"step": step, "time": round(time.time(), 3), **{k: float(v) for k, v in metrics.items()}}
        with self._file.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._guest:
            self._guest.log(step, metrics)

    def rewind(self, step: int) -> None:
        """Drop the metrics after `step`: the run goes on from there and will log them again.

        W&B is told those before it anew: a kill may have come before it had taken them.
        """
        entries = self._lines()
        self.state["high_water"] = max(self.state["high_water"], *(entry["step"] for entry in entries), -1)
        kept = [entry for entry in entries if entry["step"] <= step]
        write_atomically(self._file, "".join(json.dumps(entry) + "\n" for entry in kept))
        self.save_state()
        if self._guest:
            for entry in kept:
                self._guest.log(entry["step"], {k: v for k, v in entry.items() if k not in ("step", "time")})

    def finish(self, summary: Mapping[str, float] | None = None, outcome: str = "finished") -> None:
        """Close W&B (within `finish_seconds`) and keep the state."""
        if self._guest:
            code = 0 if outcome in {"finished", "interrupted"} else 1
            self._guest.finish(summary or {}, code, self._finish_seconds)
        self.save_state()

    def save_state(self) -> None:
        """Keep the seconds spent so far, the W&B run id and the high-water mark."""
        self.state["seconds"] = round(self._seconds_before + time.monotonic() - self._start, 3)
        write_atomically(self._state_file, json.dumps(self.state))

    def _lines(self) -> list[dict[str, Any]]:
        """The metrics so far; a line torn by a kill is left out."""
        entries = []
        for line in self._file.read_text("utf-8", "replace").splitlines() if self._file.exists() else []:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict) and isinstance(entry.get("step"), int):
                entries.append(entry)
        return entries


class _WandbGuest:
    """One W&B run, driven by a daemon thread through a queue; after its first failure it is left alone.

    It is given every step of the run, and sends those that W&B does not have. Offline that is all of them, to files
    of this attempt's own, and what earlier attempts left unsent is then deleted: of a killed one nobody can say how
    much it holds.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], state: dict[str, Any], say: Callable[[str], None]
    ) -> None:
        self._queue: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._say = say
        self._settings = dict(settings)
        self._settings["mode"] = resolve_mode(settings["mode"])
        self._folder = folder
        self._state = state
        state.setdefault("wandb_run_id", os.urandom(5).hex())
        self._run_id = state["wandb_run_id"]
        self._thread = threading.Thread(target=self._serve, name="wandb", daemon=True)
        self._thread.start()

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self._queue.put(("log", (step, dict(metrics))))

    def finish(self, summary: Mapping[str, float], exit_code: int, seconds: float) -> None:
        self._queue.put(("finish", (dict(summary), exit_code)))
        self._thread.join(seconds)
        if self._thread.is_alive():
            self._say("W&B does not answer; its run is left as it is, metrics.jsonl is complete")

    def _serve(self) -> None:
        try:
            before = list(self._folder.glob("wandb/offline-run-*"))
            sent = [folder for folder in before if any(folder.glob("*.synced"))]
            run = self._begin()
            while True:
                verb, payload = self._queue.get()
                if verb == "log":
                    known = self._state["high_water"] if sent else run.starting_step - 1
                    if payload[0] > known:
                        run.log(payload[1], step=payload[0])
                    continue
                run.summary.update(payload[0])
                run.finish(exit_code=payload[1])
                for folder in before:
                    if folder not in sent:
                        shutil.rmtree(folder, ignore_errors=True)
                return
        except BaseException as error:  # W&B raises SystemExit and its own kinds too; none may stop training
            self._say(
                f"W&B is off for the rest of this stage ({type(error).__name__}: {str(error)[:120]}); "
                "metrics.jsonl goes on"
            )

    def _begin(self) -> Any:
        import wandb

        settings = self._settings
        return wandb.init(
            project=settings["project"],
            entity=settings["entity"],
            mode=settings["mode"],
            dir=str(self._folder),
            id=self._run_id,
            resume="allow" if settings["mode"] == "online" else None,
            group=settings["group"],
            job_type=settings["job_type"],
            name=settings["name"],
            config=settings["config"],
            reinit="create_new",
            settings=wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                disable_code=True,
                init_timeout=60,
                x_disable_meta=True,
                x_disable_stats=True,
                save_code=False,
            ),
        )


def resolve_mode(asked: str) -> str:
    """`auto` is online where a key is at hand, else offline: W&B must never stop to ask."""
    if asked != "auto":
        return asked
    if os.environ.get("WANDB_MODE") in {"online", "offline", "disabled"}:
        return os.environ["WANDB_MODE"]
    if os.environ.get("WANDB_API_KEY"):
        return "online"
    try:
        return "online" if netrc.netrc().authenticators("api.wandb.ai") else "offline"
    except (OSError, netrc.NetrcParseError):
        return "offline"
