"""The short part of `make chaos`: one chain of all training stages, interrupted five times, beside one that is not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
import torch

from chaos.drive import Ended, Trial
from chaos.outcome import differences, leftovers, outcome
from chaos.plan import CHECKPOINT, EPOCH, HARMS, ROLLOUT, STEP, Moment
from chaos.recipe import STAGES, settings, write_project

HAPPENS: dict[tuple[str, ...], tuple[tuple[str, str, Moment, int], ...]] = {
    ("sft", "dpo"): (("sft", "kill", CHECKPOINT, 3), ("dpo", "kill the engine", STEP, 4)),
    ("rm", "ppo"): (("rm", "SIGTERM", STEP, 4), ("ppo", "kill", ROLLOUT, 12), ("ppo", "Ctrl-C", EPOCH, 6)),
}


@pytest.fixture(scope="module")
def ended(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Trial, Trial]]:
    """By stage: a run that nothing happened to, and one that was interrupted."""
    untouched, *interrupted = (Trial(tmp_path_factory.mktemp("chaos") / "it", names) for names in (STAGES, *HAPPENS))
    for trial in (untouched, *interrupted):
        write_project(trial.root, str(tiny_model))
    with ThreadPoolExecutor(2) as pool:
        ends = [pool.submit(interrupt, trial) for trial in reversed(interrupted)] + [pool.submit(untouched.attempt)]
        for last in (end.result() for end in ends):
            assert last.code == 0, last.said
    return {stage: (untouched, trial) for trial in interrupted for stage in trial.arguments}


def interrupt(trial: Trial) -> Ended:
    """One attempt for each thing that happens, and one in peace."""
    for stage, do, moment, call in HAPPENS[trial.arguments]:
        happened = trial.attempt(moment.attack(do, stage, call))
        assert happened.struck and happened.code != 0, happened.said
        if moment == ROLLOUT:
            HARMS["a bit of its state flipped"](trial.root, trial.folder(stage), Random(0))
    return trial.attempt()


@pytest.mark.parametrize("stage", STAGES)
def test_run_ends_bit_for_bit_where_an_untouched_one_does(ended: dict[str, tuple[Trial, Trial]], stage: str) -> None:
    one, other = (outcome(trial.folder(stage)) for trial in ended[stage])
    assert any(name.startswith("weight") for name in one) and any("optimizer" in name for name in one)
    assert differences(one, other) == []
    assert leftovers(ended[stage][1].folder(stage)) == []


def test_differences_are_found_to_the_last_bit() -> None:
    one = {"a": torch.zeros(3), "b": float("nan"), "c": 1}
    assert differences(one, {"a": torch.zeros(3), "b": float("nan"), "c": 1}) == []
    other = {"a": torch.tensor([0.0, -0.0, 0.0]), "b": float("nan"), "d": 1}
    assert [line.split(":")[0] for line in differences(one, other)] == ["a", "missing", "too many"]


@pytest.mark.parametrize("stage", STAGES)
def test_settings_meet_in_pairs(stage: str) -> None:
    rows = [set(row) for row in settings(stage)]
    values = [(f"{stage}.save_steps=1", f"{stage}.save_steps=2"), ("model.dtype=float32", "model.dtype=bfloat16")]
    assert all(any({one, other} <= row for row in rows) for one in values[0] for other in values[1])
    assert all(any("model.lora=null" in row and one in row for row in rows) for pair in values for one in pair)
