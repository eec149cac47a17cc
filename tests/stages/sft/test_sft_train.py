"""sft on the tiny model: what it refuses, what it learns, and that a stop changes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Log, full_model, lora_model, make_context, same_weights, weights, write_rows
from transformers import AutoModelForCausalLM

from pipeline.contract import ModelConfig, Result
from pipeline.errors import DataError, Interrupted, UserError
from stages import sft
from stages.modeling.chat import Chat

TINY = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 1, "learning_rate": 1e-2, "max_length": 64}


def run(output: Path, model: ModelConfig, data: Path, log: Log | None = None, *, keep: bool = False, stop: int = 0,
        **changes: Any) -> Result:  # fmt: skip
    config = sft.Config(**{"data": "rows", "eval_prompts": 0, "max_steps": 3, **TINY, **changes})
    return sft.run(config, make_context(output, model, log, keep=keep, stop=stop, policy="base", data=data))


# By the hash of their text these questions fall on the training side at 0.3 held out, and the others do not.
TRAINED = ("q", "q2", "q5", "q6", "q9", "q10", "q11")
HELD_OUT = [
    ("question 0", "answer 0"),
    ("question 1", "answer 1"),
    ("question 4", "answer 1"),
    ("question 11", "answer 2"),
]


def conversations(folder: Path, answers: list[str], held_out: str = "yes") -> Path:
    """A file with one training row for each answer, and one held-out row."""
    rows = [*zip(TRAINED, answers, strict=False), ("q0", held_out)]
    return write_rows(folder / "conversations.jsonl", [{"messages": turns(q, a)} for q, a in rows])


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


@pytest.fixture(params=["lora", "full"])
def kind(request: pytest.FixtureRequest, tiny_model: Path) -> ModelConfig:
    return lora_model(tiny_model) if request.param == "lora" else full_model(tiny_model)


def plain_loss(folder: Path, base: Path, chat: Chat, rows: list[tuple[str, str]]) -> float:
    """Mean over rows of the mean loss an answer token, from plain transformers and peft."""
    from peft import PeftModel

    lora = (folder / "adapter_model.safetensors").is_file()
    model: Any = AutoModelForCausalLM.from_pretrained(str(base if lora else folder), dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(folder)) if lora else model
    losses = []
    for question, answer in rows:
        prompt = chat.prompt_ids([{"role": "user", "content": question}])
        ids = prompt + chat.tokenizer(answer + "<|im_end|>", add_special_tokens=False)["input_ids"]
        labels = [-100] * len(prompt) + ids[len(prompt) :]
        with torch.no_grad():
            found = model.eval()(input_ids=torch.tensor([ids]), labels=torch.tensor([labels]))
        losses.append(float(found.loss))
    return sum(losses) / len(losses)


def test_loss_falls_and_the_output_has_it_in_plain_libraries(
    kind: ModelConfig, tiny_model: Path, chat: Chat, rows: dict[str, Path], tmp_path: Path
) -> None:
    log = Log()
    result = run(tmp_path / "out", kind, rows["instructions"], log, max_steps=24, eval_prompts=2, max_new_tokens=4)
    assert result.metrics["heldout/loss"] < result.metrics["heldout/input_loss"] - 0.5
    assert log.column("loss")[-1] < log.column("loss")[0] - 0.5
    assert [step for step, metrics in log.metrics if "loss" in metrics] == list(range(1, 25))
    assert plain_loss(tmp_path / "out", tiny_model, chat, HELD_OUT) == pytest.approx(
        result.metrics["heldout/loss"], abs=1e-4
    )


def test_first_loss_is_the_mean_over_the_answers_tokens(model: ModelConfig, tmp_path: Path) -> None:
    """Over all rows of an optimizer step, however they are cut into forwards: the token mean, not a mean of means."""
    data = conversations(tmp_path, ["a b c d e f g h", "i", "j k"])
    whole, cut = Log(), Log()
    run(tmp_path / "one/out", model, data, whole, max_steps=1, per_device_train_batch_size=3)
    run(
        tmp_path / "two/out",
        model,
        data,
        cut,
        max_steps=1,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=3,
    )
    assert cut.column("loss")[0] == pytest.approx(whole.column("loss")[0], abs=1e-5)
    assert cut.column("grad_norm")[0] == pytest.approx(whole.column("grad_norm")[0], rel=1e-4)


def test_packed_rows_do_not_see_each_other(loud: ModelConfig, chat: Chat, tmp_path: Path) -> None:
    answers = ["a b c d", "e", "f g", "h i j k l"]
    data, packed, plain = conversations(tmp_path, answers), Log(), Log()
    same = {"max_length": 256, "max_steps": 2, "learning_rate": 1e-3}
    run(tmp_path / "one/out", loud, data, packed, packing=True, per_device_train_batch_size=1, **same)
    run(tmp_path / "two/out", loud, data, plain, per_device_train_batch_size=4, **same)
    assert packed.column("loss") == pytest.approx(plain.column("loss"), abs=1e-4)
    assert packed.column("grad_norm") == pytest.approx(plain.column("grad_norm"), rel=1e-3)

    model = AutoModelForCausalLM.from_pretrained(loud.model_name_or_path, dtype=torch.float32)
    rows = [chat.encode(turns(q, a)) for q, a in zip(TRAINED, answers, strict=False)]
    joined = [(i, i if m else -100) for row in rows for i, m in zip(row.input_ids, row.completion_mask, strict=True)]
    ids, labels = zip(*joined, strict=True)
    crossing = model(input_ids=torch.tensor([ids]), labels=torch.tensor([labels])).loss.detach()
    assert abs(float(crossing) - plain.column("loss")[0]) > 0.01  # so the comparison above could have failed


def test_answers_cut_off_whole_are_refused(model: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no trained token left within max_length 5") as caught:
        run(tmp_path / "out", model, rows["instructions"], max_length=5)
    assert caught.value.where == "training row 1"


def test_data_whose_every_end_token_is_cut_off_is_refused(model: ModelConfig, tmp_path: Path) -> None:
    data = conversations(tmp_path, ["a long answer " * 9] * 4)
    with pytest.raises(DataError, match="never learn to stop"):
        run(tmp_path / "out", model, data, max_length=40)


def test_held_out_rows_that_never_fit_are_refused_before_training(model: ModelConfig, tmp_path: Path) -> None:
    log = Log()
    data = conversations(tmp_path, ["no"], held_out="w " * 90)
    with pytest.raises(DataError, match="held-out conversations fits"):
        run(tmp_path / "out", model, data, log)
    assert not log.metrics


def test_truncation_is_counted_aloud(model: ModelConfig, tmp_path: Path) -> None:
    log = Log()
    data = conversations(tmp_path, ["yes", "w" * 60, "no"])
    result = run(tmp_path / "out", model, data, log, max_length=32)
    assert any("max_length 32 cuts 1 of them" in line for line in log.said)
    assert result.metrics["data/num_truncated_tokens"] > 0


@pytest.mark.parametrize("stop", [2, 4])
def test_stopped_and_resumed_run_ends_with_the_same_bits(
    kind: ModelConfig, rows: dict[str, Path], tmp_path: Path, stop: int
) -> None:
    whole, parts = Log(), Log()
    run(tmp_path / "whole/out", kind, rows["instructions"], whole, max_steps=6, save_steps=3)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", kind, rows["instructions"], parts, max_steps=6, save_steps=3, keep=True, stop=stop)
    assert (tmp_path / f"parts/checkpoints/step-{stop:06d}/MANIFEST.json").is_file()
    run(tmp_path / "parts/out", kind, rows["instructions"], parts, max_steps=6, save_steps=3, keep=True)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert parts.column("loss") == whole.column("loss")


def test_run_stopped_after_training_does_not_train_again(
    model: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    run(tmp_path / "out", model, rows["instructions"], keep=True)
    first, log = weights(tmp_path / "out"), Log()
    run(tmp_path / "out", model, rows["instructions"], log, keep=True)
    assert not log.metrics and "going on from step 3" in log.said
    assert all(torch.equal(first[name], tensor) for name, tensor in weights(tmp_path / "out").items())


def test_run_logs_no_step_twice_when_every_checkpoint_is_damaged(
    model: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    log = Log()
    run(tmp_path / "out", model, rows["instructions"], log, keep=True)
    steps = [step for step, _ in log.metrics]
    for file in tmp_path.glob("checkpoints/*/state.pt"):
        file.write_bytes(b"")
    run(tmp_path / "out", model, rows["instructions"], log, keep=True)
    assert [step for step, _ in log.metrics] == steps


def test_gradient_checkpointing_changes_nothing_but_memory(
    kind: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    plain, saving = Log(), Log()
    run(tmp_path / "plain/out", kind, rows["instructions"], plain)
    run(tmp_path / "saving/out", kind, rows["instructions"], saving, gradient_checkpointing=True)
    assert saving.column("loss") == pytest.approx(plain.column("loss"), abs=1e-5)
    assert saving.column("grad_norm") == pytest.approx(plain.column("grad_norm"), rel=1e-4)


def test_run_with_dropout_resumes_to_the_same_bits(tiny_model: Path, rows: dict[str, Path], tmp_path: Path) -> None:
    dropping, plain, whole = lora_model(tiny_model, dropout=0.5), Log(), Log()
    run(tmp_path / "plain/out", lora_model(tiny_model), rows["instructions"], plain)
    run(tmp_path / "whole/out", dropping, rows["instructions"], whole)
    assert whole.column("loss")[1:] != plain.column("loss")[1:]
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", dropping, rows["instructions"], keep=True, stop=2)
    run(tmp_path / "parts/out", dropping, rows["instructions"], keep=True)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")


def test_resume_under_another_arithmetic_is_refused(model: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "out", model, rows["instructions"], keep=True, stop=2)
    changed = model.model_copy(update={"attn_implementation": "sdpa"})
    with pytest.raises(UserError, match=r"was written with float32 on cpu \(\w+\) and \d+ threads, attention posttune"):
        run(tmp_path / "out", changed, rows["instructions"], keep=True)


def test_resume_under_other_threads_is_refused_unless_allowed(
    model: ModelConfig, rows: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted):
        run(tmp_path / "out", model, rows["instructions"], keep=True, stop=2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    with pytest.raises(UserError, match=r"99 threads") as refused:
        run(tmp_path / "out", model, rows["instructions"], keep=True)
    assert "--allow-drift" in refused.value.remedy
    log = Log()
    context = make_context(tmp_path / "out", model, log, keep=True, policy="base", data=rows["instructions"])
    config = sft.Config(data="rows", eval_prompts=0, max_steps=3, **TINY)
    sft.run(config, replace(context, allow_drift=True))
    assert [line for line in log.said if "99 threads" in line and line.endswith(": allowed")]
    assert [step for step, _ in log.metrics] == [3]
