"""Looking after a run folder: whether its files are what was written, and which of them nothing names any more."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import manifest, registry
from pipeline.files import read_json, size
from pipeline.recipe import RUN_FILES
from pipeline.stage_run import StageRun, returned

RUN = re.compile(r"[0-9a-f]{12}")  # the name of a stage's folder


@dataclass(frozen=True)
class Checked:
    """What `verify` found in one place: how many files and checkpoints it hashed, and what is wrong, if anything is."""

    place: Path
    count: int
    problems: tuple[str, ...]
    is_in_use: bool = False  # by a running stage: not looked at


@dataclass(frozen=True)
class Unnamed:
    """A run that is no stage's any more, or what a killed one left half-written."""

    path: Path
    num_bytes: int
    why: str
    in_use: bool


def verify(root: Path) -> list[Checked]:
    """Hash every file that a manifest of this run folder, or of a checkpoint in it, names."""
    return [_index(root), *(_stage_run(run) for run in _runs(root))]


def _index(root: Path) -> Checked:
    """Store has read it already, so it is one that posttune wrote, or none."""
    index = read_json(root / "index.json")
    if index is None:
        return Checked(root / "index.json", 0, ("is missing: the next run writes it anew",))
    stages = index.get("stages", {})
    lost = [name for name, print_ in stages.items() if not (root / name / print_[:12]).is_dir()]
    return Checked(root / "index.json", 1, tuple(f"the run of {name} that it names is not there" for name in lost))


def _stage_run(run: StageRun) -> Checked:
    if is_in_use(run):
        return Checked(run.folder, 0, (), is_in_use=True)
    problems: list[str] = []
    files: Mapping[str, Any] = {}
    file = run.folder / manifest.FILE
    if file.is_file():
        try:
            found = manifest.sound(file.read_bytes(), run.folder.name)
            files = found["files"]
            flaws = manifest.problems(run.folder, found)
            problems += [f"{path.relative_to(run.folder)} {told}" for path, told in flaws]
        except ValueError as flaw:
            problems.append(f"{file.name}: {flaw}")
    checkpoints = [path for path in sorted(run.checkpoints.glob("*")) if path.is_dir() and _is_final(path)]
    damage = registry.load(registry.CHECKPOINT_DAMAGE)
    problems += [f"{place.relative_to(run.folder)}: {told}" for place in checkpoints if (told := damage(place))]
    return Checked(run.folder, len(files) + len(checkpoints), tuple(problems))


def _is_final(checkpoint: Path) -> bool:
    """Whether it has its own name: neither half-written nor set aside."""
    return ".tmp-" not in checkpoint.name and not checkpoint.name.startswith(("broken-", "replaced-"))


def unnamed(root: Path, keep: Set[tuple[str, str]], *, delete: bool = False) -> list[Unnamed]:
    """The runs that are not in `keep`, and what is half-written in the others.

    `keep` holds stages with the first 12 digits of a fingerprint. With `delete` what no process works in is removed,
    under its lock.
    """
    found = []
    for run in _runs(root):
        with _lock(run, fcntl.LOCK_EX) if delete else nullcontext(not is_in_use(run)) as is_free:
            mine = [Unnamed(path, size(path), why, not is_free) for path, why in _rubbish(run, keep)]
            if delete and is_free:
                for item in mine:
                    shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink()
        found += mine
    return found


def _rubbish(run: StageRun, keep: Set[tuple[str, str]]) -> list[tuple[Path, str]]:
    asked = returned(run).exists()  # people's answers mean nothing without the batch that they answer
    if (run.stage, run.folder.name) not in keep and not asked:
        return [(run.folder, "neither the recipe's stage as it is nor what it was last run as")]
    leftovers = [*run.folder.glob("*.tmp"), *run.folder.glob("*.tmp-*"), *run.checkpoints.glob("*.tmp-*")]
    broken = [(path, "a damaged checkpoint, set aside") for path in run.checkpoints.glob("broken-*")]
    return [*((path, "half-written") for path in leftovers), *broken]


def _runs(root: Path) -> Iterator[StageRun]:
    """Every run of every stage, of this recipe and of what it was before."""
    for stage in sorted(path for path in root.iterdir() if path.is_dir() and path.name not in RUN_FILES):
        for folder in sorted(path for path in stage.iterdir() if RUN.fullmatch(path.name) and path.is_dir()):
            yield StageRun(stage.name, folder.name, folder)


def is_in_use(run: StageRun) -> bool:
    """Whether a process works in it."""
    with _lock(run, fcntl.LOCK_SH) as is_free:
        return not is_free


@contextmanager
def _lock(run: StageRun, kind: int) -> Iterator[bool]:
    """Whether no process works in the run; with LOCK_EX none can begin to while this lasts."""
    try:
        lock = os.open(run.folder / "lock", os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
        is_free = True
    except BlockingIOError:
        is_free = False
    try:
        yield is_free
    finally:
        os.close(lock)
