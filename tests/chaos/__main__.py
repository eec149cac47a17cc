"""`make chaos`: hundreds of interruptions of every training stage, dealt to runs by chance, and what came of them.

Ends with 1 if a run did not end bit for bit where an untouched one did.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch

from chaos.case import Verdict, suffer, trial
from chaos.outcome import Outcome, outcome
from chaos.plan import Interruption, interruptions
from chaos.recipe import STAGES, Settings, model_settings, settings, write_model, write_project

IN_A_RUN = 5  # interruptions
ROUNDS = 6  # of dealing out anew what did not happen, because the run had ended before


@dataclass(frozen=True)
class Case:
    """A run to come."""

    stage: str
    number: int
    settings: Settings
    planned: Sequence[Interruption]


def main() -> None:
    asked = _arguments()
    torch.set_num_threads(1)
    root = Path(asked.folder or tempfile.mkdtemp(prefix="posttune-chaos-"))
    root.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    house = House(root, write_model(root / "model"))
    rows: Counter[tuple[str, str, str]] = Counter()
    with ThreadPoolExecutor(asked.jobs) as pool:
        for stage in asked.stages:
            waiting = list(_drawn(stage, asked.interruptions // len(asked.stages), Random(f"{asked.seed} {stage}")))
            number = 0
            for _ in range(ROUNDS):
                cases = list(_dealt(stage, waiting, number, Random(f"{asked.seed} {stage} {number}")))
                number += len(cases)
                used = {case.settings for case in cases}
                list(pool.map(house.prepare, dict.fromkeys(model_settings(one) for one in used)))
                list(pool.map(partial(house.untouched, stage), used))
                waiting = []
                for case, verdict in zip(cases, pool.map(partial(house.run, seed=asked.seed), cases), strict=True):
                    _tell(case, verdict, time.monotonic() - start)
                    result = _result(verdict)
                    rows.update((case.stage, name, result) for name in verdict.happened)
                    waiting += verdict.missed
                if not waiting:
                    break
    _table(rows, time.monotonic() - start)
    different = any(result != "identical" for _, _, result in rows)
    if different:
        print(f"the runs that differ are in {root}")
    elif not asked.folder:
        shutil.rmtree(root)
    sys.exit(different or sum(rows.values()) == 0)


class House:
    """The folders of all runs, and what untouched ones gave."""

    def __init__(self, root: Path, model: Path) -> None:
        self.root, self.model = root, model
        self._prepared: dict[Settings, Path] = {}
        self._untouched: dict[tuple[str, Settings], Outcome] = {}

    def prepare(self, chosen: Settings) -> Path:
        """A project with the reward model that ppo needs, for these settings of the model."""
        if chosen not in self._prepared:
            folder = self.root / f"prepared-{len(self._prepared)}-{abs(hash(chosen)) % 10**6}"
            write_project(folder, self.model)
            ended = trial(folder, "rm", chosen).attempt()
            assert ended.code == 0, ended.said
            self._prepared[chosen] = folder
        return self._prepared[chosen]

    def project(self, name: str, stage: str, chosen: Settings) -> Path:
        """A fresh copy, with a reward model only where the stage is not to make one."""
        folder = self.root / name
        shutil.copytree(self.prepare(model_settings(chosen)), folder)
        if stage != "ppo":
            shutil.rmtree(folder / "runs")
            (folder / "runs").mkdir()
        shutil.copytree(folder / "runs", folder / "prepared")
        return folder

    def untouched(self, stage: str, chosen: Settings) -> Outcome:
        """What the stage leaves when nothing happens to it."""
        if (stage, chosen) not in self._untouched:
            name = f"untouched-{stage}-{settings(stage).index(chosen)}"
            run = trial(self.project(name, stage, chosen), stage, chosen)
            ended = run.attempt()
            assert ended.code == 0, ended.said
            self._untouched[stage, chosen] = outcome(run.folder(stage))
        return self._untouched[stage, chosen]

    def run(self, case: Case, seed: int) -> Verdict:
        """Its folder stays only where something is wrong."""
        run = trial(self.project(f"{case.stage}-{case.number}", case.stage, case.settings), case.stage, case.settings)
        chance = Random(f"{seed} {case.stage} {case.number}")
        verdict = suffer(run, case.stage, case.planned, self.untouched(case.stage, case.settings), chance)
        if not verdict.wrong:
            shutil.rmtree(run.root)
        return verdict


def _drawn(stage: str, count: int, chance: Random) -> Iterator[Interruption]:
    """So many of all that can happen, each as often as any other."""
    every: list[Interruption] = []
    for _ in range(count):
        every = every or chance.sample(known := interruptions(stage), len(known))
        yield every.pop()


def _dealt(stage: str, waiting: Sequence[Interruption], first: int, chance: Random) -> Iterator[Case]:
    """Runs that suffer a few of them each, in an order in which all can happen."""
    rows = settings(stage)
    for number, start in enumerate(range(0, len(waiting), IN_A_RUN), first):
        mine = sorted(waiting[start : start + IN_A_RUN], key=lambda one: (one.phase, chance.random()))
        yield Case(stage, number, rows[number % len(rows)], mine)


def _result(verdict: Verdict) -> str:
    return f"DIFFERS ({len(verdict.wrong)} things)" if verdict.wrong else "identical"


def _tell(case: Case, verdict: Verdict, seconds: float) -> None:
    print(f"[{seconds:5.0f} s] {case.stage} {case.number}: {len(verdict.happened)} interruptions, {_result(verdict)}")
    if verdict.wrong:
        print("   settings:", *case.settings)
        print("   happened:", "; ".join(verdict.happened))
        for line in verdict.wrong[:12]:
            print("  ", line)
    sys.stdout.flush()


def _table(rows: Counter[tuple[str, str, str]], seconds: float) -> None:
    width = max((len(name) for _, name, _ in rows), default=0)
    print(f"\n{'stage':<6}{'what happened':<{width + 2}}{'times':>6}  the run's end")
    for (stage, name, result), count in sorted(rows.items()):
        print(f"{stage:<6}{name:<{width + 2}}{count:>6}  {result}")
    same = sum(count for (_, _, result), count in rows.items() if result == "identical")
    print(f"\n{sum(rows.values())} interruptions in {seconds / 60:.0f} minutes; {same} in runs that ended identical")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument(
        "--interruptions", type=int, default=240, help="in all, dealt evenly to the stages (%(default)s)"
    )
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--seed", type=int, default=0, help="of what happens when (%(default)s)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs at a time (%(default)s)")
    parser.add_argument("--folder", help="where the runs are made, and stay (left out: a temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
