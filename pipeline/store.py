"""Run folders: the only place that creates, locks, publishes and reads them.

    runs/<recipe>/recipe.yaml index.json hashes.json report.html
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
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import manifest
from pipeline.content import ContentCache, file_digest
from pipeline.contract import AWAITED, ROWS, Role
from pipeline.errors import StageFailed, UserError
from pipeline.recipe import RUN_FILES, Recipe, dump_resolved
from pipeline.redaction import clean, relative

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


class Store:
    """The run folder of one recipe. Reading it creates nothing."""

    def __init__(self, runs: Path, recipe: Recipe) -> None:
        self.root = runs / recipe.name
        self.contents = ContentCache(self.root / "hashes.json")
        self._recipe = recipe
        self._recipe_before = b""  # as an earlier run left it
        self._index = _read_index(self.root / "index.json")
        owner = self.root / os.path.expanduser(self._index["recipe"]) if "recipe" in self._index else recipe.path
        if os.path.exists(owner) and not owner.samefile(recipe.path):  # a recipe that was moved keeps its runs
            raise UserError(
                f"this run folder belongs to the recipe {os.path.relpath(owner.resolve())}",
                where=str(self.root),
                remedy=f"give {recipe.path} a `name:` of its own, or use --runs",
            )

    @property
    def id(self) -> str:
        """The run folder's own id: the W&B group."""
        return str(self._index.get("id", "unsaved"))

    def last_fingerprint(self, stage: str) -> str | None:
        """The fingerprint this stage was last started or finished with."""
        found = self._index.get("stages", {}).get(stage)
        return str(found) if found else None

    def run(self, stage: str, fingerprint: str) -> StageRun:
        return StageRun(stage, fingerprint, self.root / stage / fingerprint[:12])

    def finished(self, stage: str) -> StageRun | None:
        """The stage's current run, if it is finished."""
        last = self.last_fingerprint(stage)
        run = self.run(stage, last) if last else None
        return run if run and run.manifest() else None

    def create(self) -> None:
        """Make the run folder and keep the resolved recipe in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        for torn in self.root.glob("*.tmp-*"):
            writer = torn.name.rpartition("-")[2]
            if writer.isdecimal() and not _is_alive(int(writer)):  # else another engine is writing it at this moment
                torn.unlink(missing_ok=True)
        self._index = read_json(self.root / "index.json") or self._index
        if "id" not in self._index:
            self._index = {"id": uuid.uuid4().hex[:12], "stages": {}}
        recipe = relative(self._recipe.path, self.root)
        if self._index.get("recipe") != recipe:
            self._index["recipe"] = recipe
            write_atomically(self.root / "index.json", json.dumps(self._index, indent=1))
        kept = self.root / "recipe.yaml"
        self._recipe_before = kept.read_bytes() if kept.is_file() else b""
        write_atomically(kept, clean(dump_resolved(self._recipe)))
        self.contents.save()

    def point(self, stage: str, fingerprint: str | None) -> None:
        """Make `fingerprint` the stage's current run; None: it has none."""
        self._index = read_json(self.root / "index.json") or self._index  # another process may run another stage
        if fingerprint is None:
            self._index["stages"].pop(stage, None)
        else:
            self._index["stages"][stage] = fingerprint
        write_atomically(self.root / "index.json", json.dumps(self._index, indent=1))

    def withdraw(self) -> None:
        """Take back what `create` wrote: all of it where no stage has a run to show, else the recipe."""
        self._index = read_json(self.root / "index.json") or {}
        if not self._index.get("stages"):
            for name in RUN_FILES:
                (self.root / name).unlink(missing_ok=True)
        elif self._recipe_before:
            (self.root / "recipe.yaml").write_bytes(self._recipe_before)


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


def size(path: Path) -> int:
    """The bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())


def _read_index(path: Path) -> dict[str, Any]:
    """index.json; empty where there is none. UserError for what posttune did not write: its pointers name folders."""
    index = read_json(path)
    if index is None and not path.exists():
        return {}
    pointers = index.get("stages") if index else None
    given = list(pointers.values()) if isinstance(pointers, dict) else [None]
    sound = all(isinstance(pointer, str) and manifest.SHA256.fullmatch(pointer) for pointer in given)
    if index is None or not sound or not all(isinstance(index.get(name, ""), str) for name in ("id", "recipe")):
        raise UserError(
            "is not the index that posttune wrote",
            where=str(path),
            remedy="delete it: every stage that is finished is found again by its fingerprint",
        )
    return index


def read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is no file or no object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_atomically(path: Path, text: str) -> None:
    """Replace `path` by `text` so that a reader, or a power cut, sees the old file or the new one."""
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        temporary.write_text(text, "utf-8")
        sync(temporary)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
