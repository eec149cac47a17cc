"""The short part of `make chaos`: one chain of all training stages, interrupted six times, beside one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest
import torch

from chaos.drive import Ended, Trial
from chaos.outcome import differences, leftovers, outcome
from chaos.plan import CHECKPOINT, EPOCH, HARMS, PUBLISH, ROLLOUT, STEP, Moment
from chaos.recipe import STAGES, settings, write_project

HAPPENS: tuple[tuple[str, str, Moment, int], ...] = (
    ("sft", "kill", CHECKPOINT, 3),
    ("rm", "SIGTERM", STEP, 4),
    ("dpo", "kill the engine", STEP, 4),
    ("ppo", "kill", ROLLOUT, 12),
    ("ppo", "Ctrl-C", EPOCH, 6),
    ("ppo", "kill", PUBLISH, 1),
)


@pytest.fixture(scope="module")
def ended(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Trial, Trial]]:
    """A chain that nothing happened to, and one that was interrupted again and again."""
    untouched, interrupted = (Trial(tmp_path_factory.mktemp(name) / "project", ()) for name in ("untouched", "harmed"))
    for trial in (untouched, interrupted):
        write_project(trial.root, str(tiny_model))
    with ThreadPoolExecutor() as pool:
        alone = pool.submit(untouched.attempt)
        for stage, do, moment, call in HAPPENS:
            happened = interrupted.attempt(moment.attack(do, stage, call))
            assert happened.struck and happened.code != 0, happened.said
            if moment == ROLLOUT:
                HARMS["a bit of its state flipped"](interrupted.root, interrupted.folder(stage), Random(0))
        for last in (interrupted.attempt(), alone.result()):
            assert last == Ended(0, last.said, struck=False), last.said
    yield untouched, interrupted


@pytest.mark.parametrize("stage", STAGES)
def test_run_ends_bit_for_bit_where_an_untouched_one_does(ended: tuple[Trial, Trial], stage: str) -> None:
    one, other = (outcome(trial.folder(stage)) for trial in ended)
    assert any(name.startswith("weight") for name in one) and any("optimizer" in name for name in one)
    assert differences(one, other) == []
    assert leftovers(ended[1].folder(stage)) == []


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
