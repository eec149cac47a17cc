"""What can happen to a run: a moment, what is done to it then, and what is done to its files before it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from chaos.recipe import STAGES

START, TRAINING, ENDING, DONE = range(4)  # the order in which the interruptions of one run are dealt
Harm = Callable[[Path, Path, Random], None]  # to a project, or to a run's folder in it


@dataclass(frozen=True)
class Moment:
    """A call of a function, in the worker unless it is the engine's; which one of `calls` is left to chance."""

    name: str
    at: str
    calls: tuple[int, int] = (1, 1)
    when: str = "before"
    phase: int = TRAINING
    process: str = "worker"
    stages: tuple[str, ...] = STAGES
    resumed: bool = False  # comes only where there is a checkpoint to go on from

    def attack(self, do: str, stage: str, call: int) -> dict[str, Any]:
        """What the hook is told. The engine is struck whatever stage it runs."""
        where = {"process": self.process, "stage": stage if self.process == "worker" else None}
        return {**where, "at": self.at, "call": call, "when": self.when, "do": do, "rank": None}


STEP = Moment("in a step", "torch.nn.utils:clip_grad_norm_", (1, 4))
CHECKPOINT = Moment("in a checkpoint write", "stages.checkpoint.state:write", (1, 3), "after")
ROLLOUT = Moment("in a rollout", "stages.rollout.decode:draw", (1, 20), stages=("ppo",))
EPOCH = Moment("in an epoch of a batch", "stages.objectives.policy:clipped_policy_loss", (2, 7), stages=("ppo",))
SAMPLING = Moment("in sampling", "stages.rollout.decode:draw", (1, 4), phase=ENDING, stages=("rm", "dpo"))
EVALUATION = Moment("in evaluation", "stages.evaluate.answers:ask", (1, 2), phase=ENDING, stages=("sft", "dpo", "ppo"))
JUDGING = Moment("in evaluation", "stages.rm.judged:judge", phase=ENDING, stages=("rm",))
WEIGHTS = Moment("in writing the weights", "safetensors.torch:save_file", when="after", phase=ENDING)
PUBLISH = Moment("in a publish", "pipeline.stage_run:publish", phase=ENDING, process="engine")
MOMENTS = (
    STEP, CHECKPOINT, ROLLOUT, EPOCH, SAMPLING, EVALUATION, JUDGING, WEIGHTS, PUBLISH,
    Moment("before the first step", "stages.modeling.backbone:open_backbone", phase=START),
    Moment("while an attempt is laid out", "os:replace", (1, 7), phase=START, process="engine"),
    Moment("while the attempt before is cleared", "shutil:rmtree", (1, 4), phase=START, process="engine"),
    Moment("in the reference's pass", "stages.checkpoint.store:put", phase=START, stages=("dpo",)),
    Moment("while a checkpoint is hashed", "os:fsync", (4, 12)),
    Moment("before a checkpoint has its name", "os:rename", (1, 3)),
    Moment("after a checkpoint has its name", "os:rename", (1, 3), "after"),
    Moment("before an old checkpoint goes", "shutil:rmtree", (3, 9)),
    Moment("while a checkpoint is read", "stages.checkpoint.state:restore_optimizer", when="after", resumed=True),
    Moment("in taking back metrics", "pipeline.tracking:Tracker.rewind"),
    Moment("after taking back metrics", "pipeline.tracking:Tracker.rewind", when="after"),
    Moment("after a metrics line", "pipeline.tracking:Tracker.log", (1, 4), "after"),
    Moment("after the value model's warm-up", "stages.ppo.experience:revalued", when="after", stages=("ppo",)),
    Moment("while a file is replaced", "os:replace", (2, 5), phase=ENDING),
    Moment("while outputs are hashed", "os:fsync", (9, 22), phase=ENDING, process="engine"),
    Moment("before outputs have their name", "os:rename", phase=ENDING, process="engine"),
    Moment("after outputs have their name", "os:rename", when="after", phase=ENDING, process="engine"),
    Moment("after the manifest", "pipeline.stage_run:publish", when="after", phase=DONE, process="engine"),
)  # fmt: skip
OUTSIDE = ("kill the engine", "SIGTERM", "Ctrl-C", "Ctrl-C twice")
INTERRUPTED = (STEP, CHECKPOINT, ROLLOUT, EPOCH, SAMPLING, EVALUATION, JUDGING, WEIGHTS)
AGAIN = (STEP, CHECKPOINT, ROLLOUT, EPOCH, SAMPLING)  # that come more than once
SAID = {
    "kill": "SIGKILL", "kill the engine": "engine killed", "SIGSTOP": "SIGSTOP, SIGCONT, SIGKILL",
    "full disk": "OSError(ENOSPC)", "kill the children": "W&B killed,", "clock": "clock set back,",
}  # fmt: skip


@dataclass(frozen=True)
class Interruption:
    """One thing that happens: attacks of hook/, or a kill at a random time, or a full disk; then harm to the files."""

    name: str
    attacks: tuple[tuple[str, Moment], ...] = ()
    harm: Harm | None = None
    phase: int = TRAINING
    at_random: bool = False
    full_disk: bool = False
    early: bool = False  # at the first call possible, because a later one did not come

    def drawn(self, stage: str, chance: Random) -> list[dict[str, Any]]:
        """Its attacks, as the hook reads them. Of several workers one is struck, or whichever comes there first."""
        calls = [moment.calls[0] if self.early else chance.randint(*moment.calls) for _, moment in self.attacks]
        if self.attacks and self.attacks[0][0] == "SIGSTOP":  # it is woken, goes on, and is killed at the next call
            calls[1] = calls[0] + 1
        rank = None if self.early else chance.choice((None, "0", "1"))
        return [
            moment.attack(do, stage, call) | {"rank": rank}
            for (do, moment), call in zip(self.attacks, calls, strict=True)
        ]


def interruptions(stage: str, tracked: bool = True) -> list[Interruption]:
    """All that can happen to this stage."""
    mine = [moment for moment in MOMENTS if stage in moment.stages]
    found = [_simple("kill", moment) for moment in mine]
    found += [_simple(do, moment) for do in OUTSIDE for moment in INTERRUPTED if moment in mine]
    found += [_simple("SIGSTOP", moment) for moment in AGAIN if moment in mine]
    found += [_simple("full disk", moment) for moment in mine if moment.at in ("os:rename", "os:fsync")]
    harms = {what: harm for what, harm in HARMS.items() if stage == "dpo" or harm is not _kept_pass}
    found += [
        Interruption(f"SIGKILL {STEP.name}, then {what}", (("kill", STEP),), harm) for what, harm in harms.items()
    ]
    found += [Interruption(f"ended, then {what}", harm=harm, phase=DONE) for what, harm in AFTERWARDS.items()]
    found += [Interruption("SIGKILL at a random time", at_random=True)] * 4
    found += [Interruption("full disk", full_disk=True)] * 3
    found += [Interruption("clock set back, SIGKILL in a step", (("clock", CLOCK), ("kill", LATER)))]
    if tracked:
        found += [Interruption("W&B killed, SIGKILL in a step", (("kill the children", LOGGED), ("kill", LATER)))]
    return found


CLOCK = Moment("", "time:time", (20, 60))
LOGGED = Moment("", "pipeline.tracking:Tracker.log", (1, 2))
LATER = Moment("in a step", "torch.nn.utils:clip_grad_norm_", (3, 5))


def _simple(do: str, moment: Moment) -> Interruption:
    attacks = ((do, moment), ("kill", moment)) if do == "SIGSTOP" else ((do, moment),)
    return Interruption(f"{SAID.get(do, do)} {moment.name}", attacks, phase=moment.phase)


def _newest(run: Path) -> list[Path]:
    return sorted(run.glob("checkpoints/step-??????"))[-1:]


def _cut(files: list[Path], chance: Random) -> None:
    for file in files:
        with file.open("r+b") as stream:
            stream.truncate(chance.randrange(file.stat().st_size))


def _flip(files: list[Path], chance: Random) -> None:
    for file in files:
        data = bytearray(file.read_bytes())
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        file.write_bytes(data)


def _gone(files: list[Path], chance: Random) -> None:
    """A torn manifest.json or state.json is refused (test_hostile.py): no kill can tear one."""
    for file in files:
        file.unlink()


def _in_newest(name: str, damage: Callable[[list[Path], Random], None]) -> Harm:
    return lambda project, run, chance: damage([folder / name for folder in _newest(run)], chance)


def _in_all(project: Path, run: Path, chance: Random) -> None:
    _flip(list(run.glob("checkpoints/step-??????/state.pt")), chance)


def _kept_pass(project: Path, run: Path, chance: Random) -> None:
    _flip(list(run.glob("checkpoints/reference-*/*.safetensors")), chance)


def _of_run(name: str, damage: Callable[[list[Path], Random], None]) -> Harm:
    return lambda project, run, chance: damage([file for file in [run / name] if file.exists()], chance)


def _torn_line(project: Path, run: Path, chance: Random) -> None:
    if (run / "metrics.jsonl").exists():
        with (run / "metrics.jsonl").open("a", encoding="utf-8") as stream:
            stream.write('{"step": 9, "ti')


def _without_caches(project: Path, run: Path, chance: Random) -> None:
    (project / "runs/chaos/hashes.json").unlink(missing_ok=True)
    shutil.rmtree(project / "home", ignore_errors=True)
    (project / "home").mkdir()


def _torn_cache(project: Path, run: Path, chance: Random) -> None:
    (project / "runs/chaos/hashes.json").write_text('{"rows.jsonl": [12', "utf-8")


def _leftover(project: Path, run: Path, chance: Random) -> None:
    (run / "checkpoints/step-000099.tmp-1").mkdir(parents=True)
    (run / "checkpoints/step-000099.tmp-1/state.pt").write_bytes(b"half")


HARMS: dict[str, Harm] = {
    "its state truncated": _in_newest("state.pt", _cut),
    "a bit of its state flipped": _in_newest("state.pt", _flip),
    "its manifest truncated": _in_newest("MANIFEST.json", _cut),
    "a bit of its manifest flipped": _in_newest("MANIFEST.json", _flip),
    "a bit of every checkpoint flipped": _in_all,
    "a bit of what dpo keeps flipped": _kept_pass,
    "a torn metrics line": _torn_line,
    "hashes.json and ~/.cache deleted": _without_caches,
    "hashes.json torn": _torn_cache,
    "half a checkpoint left": _leftover,
}
AFTERWARDS: dict[str, Harm] = {
    "manifest.json gone": _of_run("manifest.json", _gone),
    "the last state truncated too": lambda project, run, chance: (
        _of_run("manifest.json", _gone)(project, run, chance),
        _in_newest("state.pt", _cut)(project, run, chance),
    )[0],
}
