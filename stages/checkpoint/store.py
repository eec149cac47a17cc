"""Checkpoints on disk: written under a temporary name, hashed, synced, renamed; verified before use.

checkpoints/step-000040/   the stage's files and MANIFEST.json (written last)
checkpoints/<other name>/  what a stage else keeps for a resume, written in the same way
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pipeline.errors import StageFailed

MANIFEST = "MANIFEST.json"


def save(folder: Path, step: int, write: Callable[[Path], None], keep: int = 2) -> Path:
    """Let `write` fill a new checkpoint for `step`, make it final, and only then drop all but the newest `keep`."""
    final = folder / f"step-{step:06d}"
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
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
        _sync(final.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise StageFailed(
            f"a checkpoint could not be written: {error.strerror or error}",
            where=str(final),
            remedy="free some space and run again; the checkpoint before it is intact",
        ) from error


def newest(folder: Path | None, say: Callable[[str], None]) -> tuple[int, Path] | None:
    """The newest checkpoint whose files match their hashes; a broken one is set aside with a warning."""
    if folder is None or not folder.is_dir():
        return None
    for leftover in folder.glob("*.tmp-*"):
        shutil.rmtree(leftover, ignore_errors=True)
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
        _sync(path)
        entries[path.relative_to(folder).as_posix()] = {"size": path.stat().st_size, "sha256": _hash(path)}
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps(entries), "utf-8")
    _sync(manifest)
    _sync(folder)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
