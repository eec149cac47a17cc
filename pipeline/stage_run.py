"""A stage's folder at one fingerprint: laid out, locked, published, and cleared of what was not.

    runs/<recipe>/<stage>/<fingerprint 12>/
        config.yaml inputs.json state.json metrics.jsonl log.txt checkpoints/ kept/ paid/ output/ report.json
        manifest.json
    runs/<recipe>/annotation/<stage>-<fingerprint 12>/     what people have sent back

A manifest is written last: its presence means the stage is finished.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import manifest
from pipeline.content import file_digest
from pipeline.contract import AWAITED, ROWS, Role
from pipeline.errors import StageFailed, UserError
from pipeline.files import read_json, sync, write_atomically
from pipeline.redaction import clean

LOOK_SECONDS = 0.3
RETURNED = "annotation"


@dataclass(frozen=True)
class StageRun:
    """One stage's folder at one fingerprint."""

    stage: str
    fingerprint: str
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "output"

    @property
    def unpublished(self) -> Path:
        """Where a stage writes before its output is published under its final name."""
        return self.folder / "output.tmp"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        return any(self.checkpoints.glob("step-*/MANIFEST.json"))

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    @property
    def kept(self) -> Path:
        """What a stage has left for the user whose input stopped it."""
        return self.folder / "kept"

    @property
    def paid(self) -> Path:
        """What a stage has paid for, such as a server's replies: it outlives attempts that did not end."""
        return self.folder / "paid"

    @property
    def digest(self) -> str:
        """Of a finished run: what its output is known by."""
        return str(self.read(manifest.FILE)["digest"])

    def published(self) -> dict[str, Any] | None:
        """The manifest of a finished run; None while it is unfinished or a file of it is missing.

        UserError where the manifest, or the size of a file, is not what was published.
        """
        return manifest.read(self.folder, self.stage, self.fingerprint)

    def manifest(self) -> dict[str, Any] | None:
        """The same for those who only look on: None where it is damaged, too."""
        try:
            return self.published()
        except UserError:
            return None

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of this folder; empty where there is none."""
        return read_json(self.folder / name) or {}


@contextmanager
def locked(run: StageRun) -> Iterator[int]:
    """Hold the run's lock; yields its file descriptor, which a child process may share.

    The kernel drops the lock with the last process that holds it, so a killed run leaves none behind.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(run.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            _hold(lock)
        except OSError:
            holder = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
            raise UserError(
                f"process {holder} is already running this stage",
                where=str(run.folder),
                remedy=f"wait for it, or stop it: kill {holder}",
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        yield lock
    finally:
        os.close(lock)


def _hold(lock: int) -> None:
    """Take it, or raise OSError; those who only look (upkeep.py) have it for a moment, so not at the first refusal."""
    end = time.monotonic() + LOOK_SECONDS
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.02)


def prepare(run: StageRun, config: str, inputs: Mapping[str, Any]) -> None:
    """Lay out the folder of a run that is about to start or go on; what a killed one was writing goes."""
    for torn in run.folder.glob("*.tmp-*"):
        torn.unlink()
    shutil.rmtree(run.unpublished, ignore_errors=True)
    for stale in (run.output, run.folder / "manifest.json"):
        shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
    run.unpublished.mkdir(parents=True)
    write_atomically(run.folder / "config.yaml", clean(config))
    write_atomically(run.folder / "inputs.json", json.dumps(inputs))


def forget(run: StageRun, *, forced: bool = False) -> None:
    """Start over: drop checkpoints, metrics and state of earlier attempts; `forced`: what they paid for too."""
    if forced:
        shutil.rmtree(run.paid, ignore_errors=True)
    for name in ("checkpoints", "output", "output.tmp", "kept"):
        shutil.rmtree(run.folder / name, ignore_errors=True)
    for name in ("metrics.jsonl", "state.json", "manifest.json", "report.json"):
        (run.folder / name).unlink(missing_ok=True)


def remember(run: StageRun) -> dict[Path, bytes]:
    """The files of a run's folder, other than its log and lock, before a stage starts or goes on in it."""
    files = run.folder.iterdir() if run.folder.is_dir() else ()
    return {path: path.read_bytes() for path in files if path.is_file() and path.name not in {"log.txt", "lock"}}


def discard(run: StageRun, before: Mapping[Path, bytes]) -> bool:
    """Take back what a run wrote that the user's input stopped, but for its log and what it `kept` or `paid` for.

    False where it has a checkpoint to keep: its folder is then as it was `before`; else nothing more is left in it.
    """
    keep = {run.log, run.kept, run.paid}
    if run.has_checkpoint:
        unsent = run.folder / "wandb"  # may hold what is not sent yet
        keep |= {run.checkpoints, run.folder / "lock", unsent, *before}
    for path in run.folder.iterdir():
        if path not in keep:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    if not run.has_checkpoint:
        return True
    for path, content in before.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
    return False


def publish(run: StageRun, record: Mapping[str, Any], report: Mapping[str, Any]) -> dict[str, Any]:
    """Make the run's output final: sync it, rename it, and write the manifest last."""
    try:
        write_atomically(run.folder / "report.json", json.dumps(report))
        files = {}
        for path in sorted(p for p in run.unpublished.rglob("*") if p.is_file()):
            sync(path)
            name = Path("output") / path.relative_to(run.unpublished)
            files[name.as_posix()] = {"sha256": file_digest(path), "size": path.stat().st_size}
        run.unpublished.rename(run.output)
        sync(run.folder)
        made = {
            "fingerprint": run.fingerprint,
            "stage": run.stage,
            "digest": manifest.digest(files),
            **record,
            "files": files,
        }
        write_atomically(run.folder / manifest.FILE, json.dumps(made, indent=1))
    except OSError as error:
        raise StageFailed(
            f"the output could not be published: {error.strerror}",
            where=str(run.folder),
            remedy="free some space or mend the permissions, then run again: the checkpoint is kept",
        ) from error
    shutil.rmtree(run.paid, ignore_errors=True)
    return made


def verify(run: StageRun) -> None:
    """UserError unless a finished run's output is what it published: asked once before another stage reads it."""
    found = run.published()
    assert found is not None, "a stage starts only when what it needs is finished"
    manifest.verify(run.folder, run.stage, found)


def rows_file(run: StageRun, role: Role) -> Path:
    """Where a finished run whose artifact is data keeps its rows, or will when people have sent them."""
    return (returned(run) if role in AWAITED else run.output) / ROWS[role]


def returned(run: StageRun) -> Path:
    """The folder for what people send back for this run's batch: beside the stages, since an artifact never changes."""
    return run.folder.parents[1] / RETURNED / f"{run.stage}-{run.fingerprint[:12]}"
