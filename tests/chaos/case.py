"""One run of one stage that suffers several interruptions, and is then held against one that suffered none."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from chaos.drive import Ended, Trial
from chaos.outcome import Outcome, differences, leftovers, outcome, wandb_problems
from chaos.plan import DONE, LATER, Interruption

CHECKPOINTS = "runs/chaos/{}/*/checkpoints/step-*"
DISK = 64 * 2**20  # bytes of the disk that is filled
NAMED = re.compile(r"No space left|disk is full|MB.* are free")


@dataclass
class Verdict:
    """What came of a case: the interruptions that took place, those that did not, and all that is wrong at its end."""

    happened: list[str] = field(default_factory=list)
    missed: list[Interruption] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def suffer(run: Trial, stage: str, planned: Sequence[Interruption], untouched: Outcome, chance: Random) -> Verdict:
    """Interrupt the run in each of these ways, let it end, and compare."""
    verdict = Verdict()
    finished = False
    with _disk_of_its_own(run.root / "runs", any(one.full_disk for one in planned)) as has_disk:
        for one in planned:
            if one.full_disk and not has_disk:
                print("skipped: no small disk can be mounted here, so none is filled")
                continue
            if finished and one.phase != DONE:  # nothing more could happen to this run: it is started over
                shutil.rmtree(run.folder(stage))
            if any(moment.resumed for _, moment in one.attacks) and not list(run.root.glob(CHECKPOINTS.format(stage))):
                run.attempt(LATER.attack("kill", stage, 4))
            ended = _interrupt(run, stage, one, chance)
            finished = ended.code == 0
            struck = ended.struck or (one.full_disk and ended.code != 0) or (not one.attacks and one.harm is not None)
            if struck:
                verdict.happened.append(one.name)
            else:
                verdict.missed.append(replace(one, early=True))
            verdict.wrong += _wrong_end(one, ended)
            if struck and one.harm and (run.root / "runs/chaos" / stage).is_dir():
                one.harm(run.root, run.folder(stage), chance)
        last = run.attempt()
        if last.code != 0:
            verdict.wrong.append(f"the last attempt ended with {last.code}: {last.said[-2000:]}")
        else:
            folder = run.folder(stage)
            verdict.wrong += differences(untouched, outcome(folder))
            verdict.wrong += [f"left over: {name}" for name in leftovers(folder)]
            if (folder.parents[1] / "report.html").stat().st_mtime_ns < (folder / "manifest.json").stat().st_mtime_ns:
                verdict.wrong.append("report.html is older than the stage's end")
            if any(argument.startswith("tracking") for argument in run.arguments):
                verdict.wrong += wandb_problems(folder)
        if verdict.wrong and has_disk:  # to be looked at when the disk is gone
            shutil.copytree(run.root / "runs", run.root / "kept")
    return verdict


def _interrupt(run: Trial, stage: str, one: Interruption, chance: Random) -> Ended:
    if one.at_random:
        return run.attempt(kill_after=chance.uniform(0.5, 1.0 if one.early else 4.5))
    if not one.full_disk:
        return run.attempt(*one.drawn(stage, chance))
    free = int(2 ** chance.uniform(12, 14 if one.early else 19))
    filler = run.root / "runs" / "filler"
    filler.write_bytes(b"\0" * max(0, shutil.disk_usage(filler.parent).free - free))
    try:
        return run.attempt()
    finally:
        filler.unlink()


def _wrong_end(one: Interruption, ended: Ended) -> list[str]:
    """An attempt that fails says why in our words; it never hangs, and shows no traceback."""
    wrong = [f"{one.name}: {word} in what it says: {ended.said[-1500:]}" for word in ("Traceback", "no end within")
             if word in ended.said]  # fmt: skip
    if ended.code not in (0, 1, 130, -9):
        wrong.append(f"{one.name}: ended with {ended.code}: {ended.said[-1500:]}")
    if (one.full_disk or "ENOSPC" in one.name) and ended.code == 1 and not NAMED.search(ended.said):
        wrong.append(f"{one.name}: the full disk is not named: {ended.said[-1500:]}")
    return wrong


@contextmanager
def _disk_of_its_own(folder: Path, wanted: bool) -> Iterator[bool]:
    """A small disk mounted at `folder`; False where that is not allowed."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(folder)]
    if not wanted or subprocess.run(command, capture_output=True).returncode:
        yield False
        return
    try:
        shutil.copytree(folder.parent / "prepared", folder, dirs_exist_ok=True)
        yield True
    finally:
        subprocess.run(["umount", str(folder)], check=True)
