"""The optimizer loop: what a step holds, how the rate moves, and that a broken gradient is not applied."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from tiny_run import Log, make_context
from torch import nn

from pipeline.contract import ModelConfig
from pipeline.errors import StageFailed
from stages.training.loop import Objective, Settings, fit, rate_factor, schedule


@dataclass
class Batching:
    per_device_train_batch_size: int = 2
    gradient_accumulation_steps: int = 2
    num_train_epochs: float = 2
    max_steps: int | None = None


@pytest.mark.parametrize("items", [7, 8])
def test_every_item_is_seen_once_an_epoch(items: int) -> None:
    steps = schedule(Batching(), items, 17, "test", 1)
    seen = [i for step in steps for part in step for i in part]
    assert len(steps) == 4
    assert sorted(seen[:items]) == sorted(seen[items:]) == list(range(items))
    assert seen[:items] != seen[items:]


def test_part_of_an_epoch_is_its_first_steps() -> None:
    whole, part = (schedule(Batching(num_train_epochs=epochs), 8, 17, "test", 1) for epochs in (2, 1.5))
    assert part == whole[:3]


def test_max_steps_overrides_the_epochs() -> None:
    assert len(schedule(Batching(max_steps=5), 3, 17, "test", 1)) == 5


def test_rate_warms_up_and_falls_to_a_small_last_step() -> None:
    factors = [rate_factor(step, 10, 2, "linear") for step in range(10)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8])


def test_rate_stays_or_falls_as_a_half_cosine_when_asked() -> None:
    assert [rate_factor(step, 4, 0, "constant") for step in range(4)] == [1, 1, 1, 1]
    assert [rate_factor(step, 4, 0, "cosine") for step in (0, 2)] == pytest.approx([1, 0.5])


def take(model: ModelConfig, folder: Path, values: list[float], log: Log) -> nn.Parameter:
    """Steps whose gradients are the given values, on one weight that starts at 0."""
    weight = nn.Parameter(torch.zeros(1))

    def backward(part: list[int], total: float) -> dict[str, float]:
        loss = (weight * torch.tensor([values[i] for i in part])).sum() / total
        loss.backward()
        return {"loss": float(loss.detach())}

    settings = Settings("test", "float32", [({"w": weight}, 0.1)], [[[i]] for i in range(len(values))], "constant")
    fit(settings, Objective(lambda item: 1.0, backward, ["loss"]), make_context(folder / "out", model, log))
    return weight


def test_step_whose_gradient_is_not_finite_is_skipped(model: ModelConfig, tmp_path: Path) -> None:
    log = Log()
    weight = take(model, tmp_path, [1.0, float("nan"), float("nan"), 1.0], log)
    assert weight.item() == pytest.approx(-0.2, abs=1e-6)
    assert len(log.metrics) == 4


def test_run_gives_up_when_three_steps_in_a_row_are_not_finite(model: ModelConfig, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="not finite 3 times"):
        take(model, tmp_path, [float("inf")] * 4, Log())
