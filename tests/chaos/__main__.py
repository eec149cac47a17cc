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
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import torch
from tiny import write_tokenizer, write_weights

from chaos.case import Verdict, suffer
from chaos.drive import Trial
from chaos.outcome import Outcome, outcome
from chaos.plan import Interruption, interruptions
from chaos.recipe import EMBEDDED, STAGES, Settings, model_settings, settings, write_project

IN_A_RUN = 5  # interruptions
ROUNDS = 4  # of dealing out anew what did not happen, because the run had ended before


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
    model = EMBEDDED if asked.embedded else str(write_weights(write_tokenizer(root / "model")))
    house = House(root, model, asked.processes)
    count = asked.embedded or asked.interruptions
    rows: Counter[tuple[str, str, str]] = Counter()
    with ThreadPoolExecutor(asked.jobs) as pool:
        for place, stage in enumerate(asked.stages):
            share = len(range(place, count, len(asked.stages)))
            for case, verdict in _interrupted(house, pool, stage, share, asked.seed):
                _tell(case, verdict, time.monotonic() - start)
                rows.update((stage, name, _result(verdict)) for name in verdict.happened or ["nothing"])
    _table(rows, time.monotonic() - start)
    different = any(result != "identical" for _, _, result in rows)
    if different:
        print(f"the runs that differ are in {root}")
    elif not asked.folder:
        shutil.rmtree(root)
    sys.exit(different or not rows)


def _interrupted(
    house: House, pool: ThreadPoolExecutor, stage: str, count: int, seed: int
) -> Iterator[tuple[Case, Verdict]]:
    """Runs of one stage, until so many interruptions have happened."""
    waiting, number = list(_drawn(stage, count, Random(f"{seed} {stage}"))), 0
    for _ in range(ROUNDS):
        cases = list(_dealt(house, stage, waiting, number))
        used = dict.fromkeys(case.settings for case in cases)
        list(pool.map(house.prepare, dict.fromkeys(model_settings(one) for one in used)))
        list(pool.map(partial(house.untouched, stage), used))
        waiting, number = [], number + len(cases)
        for case, verdict in zip(cases, pool.map(partial(house.run, seed=seed), cases), strict=True):
            yield case, verdict
            waiting += verdict.missed


class House:
    """The folders of all runs, and what untouched ones gave."""

    def __init__(self, root: Path, model: str, processes: int) -> None:
        self.root, self.model, self.processes = root, model, processes
        self._prepared: dict[Settings, Path] = {}
        self._untouched: dict[tuple[str, Settings], Outcome] = {}

    def settings(self, stage: str) -> list[Settings]:
        """The embedded model has its recipe's own."""
        return [()] if self.model == EMBEDDED else settings(stage)

    def prepare(self, chosen: Settings) -> Path:
        """A project with the reward model that ppo needs, for these settings of the model."""
        if chosen not in self._prepared:
            folder = self.root / f"prepared-{zlib.crc32(repr(chosen).encode())}"
            write_project(folder, self.model)
            ended = self._trial(folder, "rm", chosen).attempt()
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
            name = f"untouched-{stage}-{self.settings(stage).index(chosen)}"
            run = self._trial(self.project(name, stage, chosen), stage, chosen)
            ended = run.attempt()
            assert ended.code == 0, ended.said
            self._untouched[stage, chosen] = outcome(run.folder(stage))
        return self._untouched[stage, chosen]

    def _trial(self, project: Path, stage: str, chosen: Settings) -> Trial:
        """The command `posttune run chaos.yaml STAGE --set ...`."""
        cache = {"POSTTUNE_CACHE": str(self.root / "cache")} if self.model == EMBEDDED else {}
        given = (*chosen, f"launch.num_processes={self.processes}")
        return Trial(project, (stage, *(part for one in given for part in ("--set", one))), cache)

    def run(self, case: Case, seed: int) -> Verdict:
        """Its folder stays only where something is wrong."""
        project = self.project(f"{case.stage}-{case.number}", case.stage, case.settings)
        run = self._trial(project, case.stage, case.settings)
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


def _dealt(house: House, stage: str, waiting: Sequence[Interruption], first: int) -> Iterator[Case]:
    """Runs that suffer a few of them each, in an order in which all can happen."""
    rows = house.settings(stage)
    for number, start in enumerate(range(0, len(waiting), IN_A_RUN), first):
        mine = sorted(waiting[start : start + IN_A_RUN], key=lambda one: one.phase)
        yield Case(stage, number, rows[number % len(rows)], mine)


def _result(verdict: Verdict) -> str:
    return f"DIFFERS ({len(verdict.wrong)} things)" if verdict.wrong else "identical"


def _tell(case: Case, verdict: Verdict, seconds: float) -> None:
    missed = "; did not come about: " + ", ".join(one.name for one in verdict.missed) if verdict.missed else ""
    happened = f"{len(verdict.happened)} interruptions"
    print(f"[{seconds:5.0f} s] {case.stage} {case.number}: {happened}, {_result(verdict)}{missed}")
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
    happened = {key: count for key, count in rows.items() if key[1] != "nothing"}
    same = sum(count for (_, _, result), count in happened.items() if result == "identical")
    print(
        f"\n{sum(happened.values())} interruptions in {seconds / 60:.0f} minutes; {same} in runs that ended identical"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument(
        "--interruptions", type=int, default=240, help="in all, dealt evenly to the stages (%(default)s)"
    )
    parser.add_argument(
        "--embedded", type=int, default=0, metavar="N", help="instead, N of SmolLM2-135M on the help desk"
    )
    parser.add_argument("--processes", type=int, default=1, help="of sft and dpo, which train in several (%(default)s)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--seed", type=int, default=0, help="of what happens when (%(default)s)")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="runs at a time (%(default)s)")
    parser.add_argument("--folder", help="where the runs are made, and stay (left out: a temporary folder)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
