"""Looking after a run folder: whether its files are what was written, and which of them nothing names any more."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import manifest, registry
from pipeline.recipe import RUN_FILES
from pipeline.store import StageRun, read_json, size


@dataclass(frozen=True)
class Checked:
    """What `verify` found in one place: how many files it hashed, and what is wrong, if anything is."""

    place: Path
    num_files: int
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Unnamed:
    """A folder that no index names, or what a killed run left half-written."""

    path: Path
    num_bytes: int
    why: str
    in_use: bool


def verify(root: Path) -> list[Checked]:
    """Hash every file that a manifest of this run folder names, those of checkpoints included."""
    return [_index(root), *(_stage_run(run) for run in _runs(root))]


def _index(root: Path) -> Checked:
    """Store has read it already, so it is one that posttune wrote, or none."""
    stages = (read_json(root / "index.json") or {}).get("stages", {})
    lost = [name for name, print_ in stages.items() if not (root / name / print_[:12]).is_dir()]
    return Checked(root / "index.json", 1, tuple(f"the run of {name} that it names is not there" for name in lost))


def _stage_run(run: StageRun) -> Checked:
    problems: list[str] = []
    count = 0
    file = run.folder / manifest.FILE
    if file.is_file():
        found = manifest.parse(file.read_bytes())
        flaw = found if isinstance(found, str) else manifest.flaw(found, _fingerprint(found, run))
        if flaw is not None or isinstance(found, str):
            problems.append(f"{file.name}: {flaw}")
        else:
            count = len(found["files"])
            problems += [
                f"{path.relative_to(run.folder)} {told}" for path, told in manifest.problems(run.folder, found)
            ]
    sealed = sorted(path.parent for path in run.checkpoints.glob("*/MANIFEST.json"))
    damage = registry.load(registry.CHECKPOINT_DAMAGE)
    problems += [f"{place.relative_to(run.folder)}: {told}" for place in sealed if (told := damage(place))]
    return Checked(run.folder, count + len(sealed), tuple(problems))


def _fingerprint(found: Mapping[str, Any], run: StageRun) -> str:
    """The whole of it, where the manifest's begins as the folder's name does."""
    own = str(found.get("fingerprint"))
    return own if own.startswith(run.folder.name) else run.folder.name


def unnamed(root: Path) -> list[Unnamed]:
    """The runs that the index does not name, and what was left half-written in the others."""
    index = read_json(root / "index.json") or {}
    current = {(name, str(print_)[:12]) for name, print_ in index.get("stages", {}).items()}
    found = []
    for run in _runs(root):
        with _in_use(run) as in_use:
            if (run.stage, run.folder.name) not in current:
                found.append(Unnamed(run.folder, size(run.folder), "no longer what the recipe's stage is", in_use))
                continue
            leftovers = (*run.folder.glob("*.tmp"), *run.folder.glob("*.tmp-*"), *run.checkpoints.glob("*.tmp-*"))
            broken = [(path, "a damaged checkpoint, set aside") for path in run.checkpoints.glob("broken-*")]
            for path, why in (*((path, "half-written") for path in leftovers), *broken):
                found.append(Unnamed(path, size(path), why, in_use))
    return found


def remove(found: list[Unnamed]) -> int:
    """Remove what is not in use; returns the bytes that were freed."""
    free = [item for item in found if not item.in_use]
    for item in free:
        shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink()
    return sum(item.num_bytes for item in free)


def _runs(root: Path) -> Iterator[StageRun]:
    """Every run of every stage, of this recipe and of what it was before."""
    for stage in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in RUN_FILES):
        for folder in sorted(path for path in stage.iterdir() if (path / "config.yaml").is_file()):
            yield StageRun(stage.name, folder.name, folder)


@contextmanager
def _in_use(run: StageRun) -> Iterator[bool]:
    """Whether a process works in it. While this lasts none can begin to."""
    try:
        lock = os.open(run.folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield False
    except BlockingIOError:
        yield True
    finally:
        os.close(lock)
