"""dpo on the tiny model: where the loss starts, whose reference it uses, and that a stop changes nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from tiny_run import Log, full_model, lora_model, make_context, same_weights, weights, write_rows
from transformers import AutoModelForCausalLM

from pipeline.contract import ModelConfig, Result
from pipeline.errors import DataError, Interrupted
from stages import dpo
from stages.dpo.config import READ_BY
from stages.dpo.data import read_pairs
from stages.modeling.chat import Chat
from stages.objectives.dpo import LOSSES, extra_inputs

SMALL = {"data": "rows", "policy": "policy", "max_steps": 3, "per_device_train_batch_size": 2, "eval_prompts": 0,
         "gradient_accumulation_steps": 1, "learning_rate": 1e-2, "max_length": 96}  # fmt: skip


def run(output: Path, model: ModelConfig, inputs: dict[str, Any], log: Log | None = None, *, keep: bool = False,
        stop: int = 0, **changes: Any) -> Result:  # fmt: skip
    config = dpo.Config(**{**SMALL, **changes})
    return dpo.run(config, make_context(output, model, log, keep=keep, stop=stop, **inputs))


@pytest.fixture
def inputs(policies: list[Path], rows: dict[str, Path]) -> dict[str, Any]:
    return {"policy": policies[0], "reference": policies[0], "data": rows["comparisons"]}


@pytest.fixture(params=["lora", "full"])
def kind(request: pytest.FixtureRequest, tiny_model: Path) -> ModelConfig:
    return lora_model(tiny_model) if request.param == "lora" else full_model(tiny_model)


def start(kind: ModelConfig, inputs: dict[str, Any]) -> dict[str, Any]:
    """Inputs for either tuning: whole weights start from the base."""
    return inputs if kind.lora else {**inputs, "policy": "base", "reference": "base"}


def pair_file(folder: Path) -> Path:
    """One training pair and one held-out pair (q0, by the hash of its text)."""
    rows = [
        {"prompt": [{"role": "user", "content": q}], "completions": ["yes", "no way"], "ranks": [1, 2]}
        for q in ("q", "q0")
    ]
    return write_rows(folder / "pairs.jsonl", rows)


@torch.no_grad()
def plain_logprob(folder: Path | None, base: Path, chat: Chat, answer: str, question: str = "q") -> float:
    """Of an answer and its end-of-turn token, from plain peft."""
    from peft import PeftModel

    model: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(folder)) if folder else model
    prompt = chat.prompt_ids([{"role": "user", "content": question}])
    ids = prompt + chat.tokenizer(answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
    logprobs = model.eval()(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
    return float(sum(logprobs[i - 1, ids[i]] for i in range(len(prompt), len(ids))))


def test_loss_starts_at_log_2_and_the_margin_at_0(kind: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    log = Log()
    run(tmp_path / "out", kind, start(kind, inputs), log, max_steps=2)
    assert log.column("loss")[0] == pytest.approx(math.log(2), abs=1e-6)
    assert log.column("rewards/margins")[0] == 0  # the reference ran in the same micro-batches
    assert log.column("loss")[1] != pytest.approx(math.log(2), abs=1e-5)


def test_planted_preference_is_learnt(kind: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    log = Log()
    result = run(tmp_path / "out", kind, start(kind, inputs), log, max_steps=16, num_train_epochs=4)
    assert result.metrics["heldout/accuracy"] > 0.9
    assert result.metrics["heldout/margin"] > 0
    assert log.column("loss")[-1] < log.column("loss")[0]


@pytest.mark.parametrize("which", ["policy", "other", "base"])
def test_reference_that_was_named_is_used(
    model: ModelConfig, tiny_model: Path, chat: Chat, inputs: dict[str, Any], policies: list[Path], tmp_path: Path,
    which: str,
) -> None:  # fmt: skip
    folder = {"policy": policies[0], "other": policies[1], "base": None}[which]
    log, given = Log(), {**inputs, "reference": folder or "base", "data": pair_file(tmp_path)}
    run(tmp_path / "out", model, given, log, max_steps=1, per_device_train_batch_size=1, beta=0.5)
    gains = [
        plain_logprob(policies[0], tiny_model, chat, answer) - plain_logprob(folder, tiny_model, chat, answer)
        for answer in ("yes", "no way")
    ]
    assert log.column("rewards/chosen")[0] == pytest.approx(0.5 * gains[0], abs=1e-4)
    assert log.column("rewards/rejected")[0] == pytest.approx(0.5 * gains[1], abs=1e-4)
    assert log.column("loss")[0] == pytest.approx(math.log(1 + math.exp(-0.5 * (gains[0] - gains[1]))), abs=1e-4)
    assert (abs(gains[0]) > 0.01) == (which != "policy")


def test_trained_tokens_end_with_the_end_of_turn(
    model: ModelConfig, tiny_model: Path, chat: Chat, inputs: dict[str, Any], tmp_path: Path
) -> None:
    log = Log()
    run(tmp_path / "out", model, {**inputs, "data": pair_file(tmp_path)}, log, max_steps=1)
    assert log.column("logps/chosen")[0] == pytest.approx(
        plain_logprob(inputs["policy"], tiny_model, chat, "yes"), abs=1e-4
    )


def test_reported_gain_is_that_of_the_published_weights(
    model: ModelConfig, tiny_model: Path, chat: Chat, inputs: dict[str, Any], tmp_path: Path
) -> None:
    result = run(tmp_path / "out", model, {**inputs, "data": pair_file(tmp_path)}, beta=0.5)
    chosen, rejected = (
        plain_logprob(tmp_path / "out", tiny_model, chat, answer, "q0")
        - plain_logprob(inputs["policy"], tiny_model, chat, answer, "q0")
        for answer in ("yes", "no way")
    )
    assert result.metrics["heldout/chosen_logprob_gain"] == pytest.approx(chosen, abs=1e-4)
    assert result.metrics["heldout/margin"] == pytest.approx(0.5 * (chosen - rejected), abs=1e-4)
    assert result.metrics["heldout/accuracy"] == float(chosen > rejected)
    before = plain_logprob(inputs["policy"], tiny_model, chat, "yes", "q0")
    assert result.metrics["heldout/chosen_logprob_change"] == pytest.approx(chosen / -before, abs=1e-5)


FIRST = 6  # calls of should_stop before the first of 6 steps: the reference's passes over as many micro-batches


@pytest.mark.parametrize("stop", [3, FIRST + 2, FIRST + 4])
def test_stopped_and_resumed_run_ends_with_the_same_bits(
    kind: ModelConfig, inputs: dict[str, Any], policies: list[Path], tmp_path: Path, stop: int
) -> None:
    given = {**inputs, "reference": policies[1]} if kind.lora else start(kind, inputs)
    whole, parts = Log(), Log()
    run(tmp_path / "whole/out", kind, given, whole, max_steps=6, save_steps=3)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", kind, given, parts, max_steps=6, save_steps=3, keep=True, stop=stop)
    run(tmp_path / "parts/out", kind, given, parts, max_steps=6, save_steps=3, keep=True)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    for name in ("loss", "rewards/margins", "logps/chosen"):
        assert parts.column(name) == whole.column(name)


def test_resumed_run_keeps_the_reference_it_was_given(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    """A reference taken from the resumed weights would put the margin back to 0."""
    log = Log()
    with pytest.raises(Interrupted):
        run(tmp_path / "out", model, inputs, log, max_steps=6, keep=True, stop=FIRST + 4)
    assert len(log.metrics) == 4
    before = log.column("rewards/margins")[-1]
    run(tmp_path / "out", model, inputs, log, max_steps=6, keep=True)
    assert log.column("rewards/margins")[4] > before / 2 > 0.001


def test_alarm_is_told_once_and_kept_when_the_run_is_stopped_after_it(
    tiny_model: Path, rows: dict[str, Path], tmp_path: Path
) -> None:
    """apo_down makes the chosen answers less likely, too; at this rate they soon lose a tenth."""
    given = {"policy": "base", "reference": "base", "data": rows["comparisons"]}
    falling = {"loss_type": "apo_down", "max_steps": 10, "learning_rate": 1e-2}
    first, then = Log(), Log()
    with pytest.raises(Interrupted):
        run(tmp_path / "out", full_model(tiny_model), given, first, keep=True, stop=16, **falling)
    (told,) = [line for line in first.said if line.startswith("alarm at step ")]
    result = run(tmp_path / "out", full_model(tiny_model), given, then, keep=True, **falling)
    assert 0 < len(then.metrics) < 10
    assert not [line for line in then.said if line.startswith("alarm")]
    assert result.fragments[0].rows == [["chosen_falls", told.removeprefix("alarm at ")]]  # type: ignore[union-attr]
    assert "but the chosen log-probability fell by" in result.summary[0]


def test_answers_that_the_policy_samples_are_measured(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    asked = {"eval_prompts": 4, "max_new_tokens": 4, "max_steps": 6}
    metrics = run(tmp_path / "out", model, inputs, sampled_prompts=3, **asked).metrics
    assert metrics["heldout/kl"] > 0.001
    assert 1 <= metrics["heldout/sampled_length"] <= 4
    assert {"heldout/sampled_ended", "heldout/reward_length_correlation"} <= metrics.keys()
    without = run(tmp_path / "none", model, inputs, sampled_prompts=0, **asked).metrics
    assert not {"heldout/kl", "heldout/sampled_length"} & without.keys()


def test_policy_that_learnt_nothing_is_at_its_reference(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    """Both sample with the same random numbers: equal models give equal answers."""
    asked = {"eval_prompts": 4, "max_new_tokens": 4, "max_steps": 1, "learning_rate": 1e-12}
    result = run(tmp_path / "out", model, inputs, **asked)
    assert result.metrics["heldout/kl"] == pytest.approx(0, abs=1e-6)
    (row,) = [row for row in result.fragments[0].rows if row[0] == "length, sampled"]  # type: ignore[union-attr]
    assert row[-1] == "0 [0, 0]"


def test_run_stopped_after_training_does_not_train_again(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    run(tmp_path / "out", model, inputs, keep=True)
    first, log = weights(tmp_path / "out"), Log()
    run(tmp_path / "out", model, inputs, log, keep=True)
    assert not log.metrics
    assert all(torch.equal(first[name], tensor) for name, tensor in weights(tmp_path / "out").items())


def test_output_holds_the_policy_alone(model: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    run(tmp_path / "out", model, inputs)
    assert weights(tmp_path / "out").keys() == weights(inputs["policy"]).keys()
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_dir()]


@pytest.mark.parametrize(("limit", "expected"), [(None, [(0, 1), (0, 2), (1, 2)]), (1, [(0, 2)])])
def test_pairs_furthest_apart_come_first_when_only_some_are_wanted(
    model: ModelConfig, chat: Chat, inputs: dict[str, Any], tmp_path: Path, limit: int | None, expected: Any
) -> None:
    rows = [
        {"prompt": [{"role": "user", "content": "q"}], "completions": ["a", "b", "c"], "ranks": [1, 2, 3]},
        {"prompt": [{"role": "user", "content": "q2"}], "completions": ["a", "b"], "ranks": [1, 1]},
    ]
    context = make_context(tmp_path / "out", model, **{**inputs, "data": write_rows(tmp_path / "c.jsonl", rows)})
    pairs = read_pairs(dpo.Config(**SMALL), context, chat, "train", limit)
    answers = [chat.completion_ids(rows[0]["prompt"], text) for text in ("a", "b", "c")]
    assert sorted((answers.index(pair.chosen), answers.index(pair.rejected)) for pair in pairs) == expected


def test_pairs_that_never_fit_are_refused(model: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="give no pair"):
        run(tmp_path / "out", model, inputs, max_length=8)


@pytest.mark.parametrize("loss_type", sorted(LOSSES))
def test_every_loss_trains(model: ModelConfig, inputs: dict[str, Any], tmp_path: Path, loss_type: str) -> None:
    log = Log()
    needed = {name: 0.1 for name, readers in READ_BY.items() if loss_type in readers}
    run(tmp_path / "out", model, inputs, log, loss_type=loss_type, sft_weight=0.1, max_steps=1, **needed)
    assert math.isfinite(log.column("loss")[0]) and log.column("grad_norm")[0] > 0


def test_recipe_offers_every_loss_of_the_library() -> None:
    assert set(get_args(dpo.Config.model_fields["loss_type"].annotation)) == set(LOSSES)


def test_settings_are_said_to_be_read_by_the_losses_that_read_them() -> None:
    for name, readers in READ_BY.items():
        assert set(readers) == {loss for loss in LOSSES if name in extra_inputs(loss)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_smoothing": 0.1}, "sigmoid does not read label_smoothing"),
        ({"loss_type": "cdpo"}, "cdpo needs label_smoothing"),
        ({"loss_type": "hinge", "alpha": 0.1}, "hinge does not read alpha"),
    ],
)
def test_settings_that_the_loss_does_not_read_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dpo.Config(**{**SMALL, **changes})
