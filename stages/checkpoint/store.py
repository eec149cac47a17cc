"""Checkpoints on disk: written under a temporary name, hashed, synced, renamed; verified before use.

checkpoints/step-000040/   the stage's files and MANIFEST.json (written last)
checkpoints/<other name>/  what a stage else keeps for a resume, written in the same way
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.contract import Saving
from pipeline.errors import StageFailed, disk_problem

MANIFEST = "MANIFEST.json"
SPARE = 1.05  # a checkpoint may be this much larger than the one before it


class Saver:
    """Saves a stage's checkpoints when they are due. Without a folder none ever is."""

    def __init__(self, folder: Path | None, saving: Saving, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._saving, self._clock = folder, saving, clock
        self._saved = clock()

    @property
    def is_overdue(self) -> bool:
        """Whether save_minutes have passed since the last checkpoint, or since the start."""
        minutes = self._saving.save_minutes
        return self._folder is not None and minutes is not None and self._clock() - self._saved >= 60 * minutes

    def is_due(self, step: int) -> bool:
        """Whether one is to be written after this step."""
        return self._folder is not None and (step % self._saving.save_steps == 0 or self.is_overdue)

    def save(self, step: int, write: Callable[[Path], None]) -> None:
        """Save one now, if there is a place for it."""
        if self._folder is not None:
            save(self._folder, step, write, self._saving.save_total_limit)
            self._saved = self._clock()


def save(folder: Path, step: int, write: Callable[[Path], None], keep: int = 2) -> Path:
    """Let `write` fill a new checkpoint for `step`, make it final, and only then drop all but the newest `keep`.

    Raises StageFailed, with the older ones intact, where it cannot be written, and before it is where one as large as
    the newest would not fit.
    """
    final = folder / f"step-{step:06d}"
    _check_room(folder)
    put(final, write)
    for old in sorted(folder.glob("step-??????"))[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return final


def put(final: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a new folder; only when it is whole, hashed and synced does it get its name."""
    temporary = final.with_name(f"{final.name}.tmp-{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        write(temporary)
        _seal(temporary)
        replaced = final.with_name(f"replaced-{final.name}")
        if final.exists():  # one of the same step: until the new one has its name, the old one stays
            shutil.rmtree(replaced, ignore_errors=True)
            final.rename(replaced)
        temporary.rename(final)
        sync(final.parent)
        shutil.rmtree(replaced, ignore_errors=True)
    except Exception as error:
        problem = disk_problem(error) or (isinstance(error, OSError) and (error.strerror or str(error)))
        if not problem:
            raise
        raise StageFailed(
            f"a checkpoint could not be written: {problem}",
            where=str(final),
            remedy="free some space and run again; the checkpoint before it is intact",
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # half a checkpoint would keep a full disk full


def _check_room(folder: Path) -> None:
    written = sorted(folder.glob("step-??????"))
    if not written:
        return
    needed = SPARE * sum(path.stat().st_size for path in written[-1].rglob("*") if path.is_file())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise StageFailed(
            f"a checkpoint takes {needed / 1e6:.0f} MB, and {free / 1e6:.0f} are free",
            where=str(folder),
            remedy="free some space and run again; the checkpoint before it is intact",
        )


def newest(folder: Path | None, say: Callable[[str], None]) -> tuple[int, Path] | None:
    """The newest checkpoint whose files match their hashes; a broken one is set aside with a warning."""
    if folder is None or not folder.is_dir():
        return None
    for leftover in folder.glob("*.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for old in folder.glob("replaced-*"):
        kept = folder / old.name.removeprefix("replaced-")
        shutil.rmtree(old, ignore_errors=True) if kept.exists() else old.rename(kept)
    for path in sorted(folder.glob(f"step-{6 * '[0-9]'}"), reverse=True):
        problem = damage(path)
        if problem is None:
            return int(path.name.removeprefix("step-")), path
        aside = path.with_name(f"broken-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        path.rename(aside)
        say(f"checkpoint {path.name} is damaged ({problem}); set aside, the one before it is used")
    return None


def damage(folder: Path) -> str | None:
    """What is wrong with a folder that `put` wrote, or None."""
    try:
        entries = json.loads((folder / MANIFEST).read_text("utf-8"))
        held = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir() and not p.is_symlink()}
        if entries.keys() != held - {MANIFEST}:
            return "its manifest does not list the files that are here"
        for name, entry in entries.items():
            if (folder / name).stat().st_size != entry["size"] or _hash(folder / name) != entry["sha256"]:
                return f"{name} does not match its hash"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"{type(error).__name__} while reading its manifest"
    return None


def _seal(folder: Path) -> None:
    """Write each file's size and hash, and push everything to the disk."""
    entries = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sync(path)
        entries[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": _hash(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(entries), "utf-8")
    sync(manifest)
    sync(folder)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync(path: Path) -> None:
    """fsync a file or a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
