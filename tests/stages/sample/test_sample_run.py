"""sample on the tiny model: what it writes, how it ranks, which side a row is on, and what dpo makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import Log, make_context, publish_scorer, write_rows

from pipeline.contract import DataSource, ModelConfig, Result, Source
from pipeline.errors import DataError, Interrupted
from stages import dpo, sample
from stages.formats import load
from stages.modeling.chat import Chat
from stages.sample.comparisons import ranks

SMALL = {"data": "rows", "policy": "policy", "max_new_tokens": 12, "batch_size": 4}


@pytest.fixture(scope="module")
def scorer(talker: ModelConfig, chat: Chat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_scorer(talker, chat, tmp_path_factory.mktemp("scorer") / "rm")


@pytest.fixture
def inputs(scorer: Path, rows: dict[str, Path]) -> dict[str, Any]:
    return {"policy": "base", "reward": scorer, "data": rows["prompts"]}


def run(output: Path, model: ModelConfig, inputs: dict[str, Any], log: Log | None = None, *, keep: bool = False,
        stop: int = 0, **changes: Any) -> Result:  # fmt: skip
    config = sample.Config(**{**SMALL, **changes})
    return sample.run(config, make_context(output, model, log, keep=keep, stop=stop, **inputs))


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "comparisons.jsonl").read_text("utf-8").splitlines()]


@torch.no_grad()
def plain_score(model: ModelConfig, reward: Path, chat: Chat, row: dict[str, Any], text: str) -> float:
    """From plain transformers, peft and the head's file, as the reward model's README says."""
    from peft import PeftModel
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    base: Any = AutoModelForCausalLM.from_pretrained(model.model_name_or_path, dtype=torch.float32)
    scorer = PeftModel.from_pretrained(base, str(reward)).eval()
    ids = chat.prompt_ids(row["prompt"]) + chat.tokenizer(text + "<|im_end|>", add_special_tokens=False)["input_ids"]
    head = load_file(reward / "head.safetensors")
    state = scorer(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
    return float((state @ head["weight"] - head["mean"]) / head["std"])


def test_answers_are_ranked_by_the_reward_models_score(
    talker: ModelConfig, scorer: Path, chat: Chat, inputs: dict[str, Any], tmp_path: Path
) -> None:
    result = run(tmp_path / "out", talker, inputs)
    rows = written(tmp_path / "out")
    assert len(rows) == result.metrics["sample/num_comparisons"] > 8
    for row in rows[:2]:
        expected = [plain_score(talker, scorer, chat, row, text) for text in row["completions"]]
        assert row["scores"] == pytest.approx(expected, abs=1e-4)
    for row in rows:
        (ranking,) = row["rankings"]
        order = sorted(range(len(row["scores"])), key=ranking["ranks"].__getitem__)
        assert [row["scores"][i] for i in order] == sorted(row["scores"], reverse=True)
        assert ranking["annotator"] == "rm"
    assert any(row["rankings"][0]["ranks"] != sorted(row["rankings"][0]["ranks"]) for row in rows)


@pytest.mark.parametrize(
    ("scores", "margin", "expected"),
    [
        ([0.5, 2.0, 1.0], 0.0, [3, 1, 2]),
        ([1.0, 1.0, 0.5], 0.0, [1, 1, 2]),
        ([1.0, 0.9, 0.8, 0.7], 0.15, [1, 1, 2, 2]),  # 0.8 is near 0.9, but not near the best of that rank
        ([-3.0, -1.0], 5.0, [1, 1]),
    ],
)
def test_scores_within_the_margin_of_the_best_of_a_rank_share_it(
    scores: list[float], margin: float, expected: list[int]
) -> None:
    assert ranks(scores, margin) == expected


def test_written_row_lies_on_its_prompts_side(
    talker: ModelConfig, inputs: dict[str, Any], rows: dict[str, Path], tmp_path: Path
) -> None:
    run(tmp_path / "out", talker, inputs)
    made = Source("made", DataSource(path=str(tmp_path / "out/comparisons.jsonl")), heldout_fraction=0.3)
    asked = Source("asked", DataSource(path=str(rows["prompts"])), heldout_fraction=0.3)
    heldout = {record.prompt_key for record in load(asked, "prompt", "heldout").records}
    own = {record.prompt_key for record in load(made, "comparison", "heldout").records}
    assert own and own <= heldout
    assert not heldout & {record.prompt_key for record in load(made, "comparison", "train").records}


def test_only_different_answers_that_ended_are_kept(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    result = run(tmp_path / "out", talker, inputs, max_new_tokens=8, num_samples_per_prompt=8)
    assert 0 < result.metrics["sample/ended"] < 1
    for row in written(tmp_path / "out"):
        assert len(set(row["completions"])) == len(row["completions"]) > 1
    assert result.metrics["sample/different_answers"] < 8 * result.metrics["sample/ended"]


def test_policy_whose_answers_never_end_is_refused(talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two different answers that ended") as caught:
        run(tmp_path / "out", talker, inputs, max_new_tokens=1)
    assert "max_new_tokens (now 1)" in caught.value.remedy


def test_prompt_of_two_sources_is_answered_once_and_keeps_its_reference(
    talker: ModelConfig, inputs: dict[str, Any], rows: dict[str, Path], tmp_path: Path
) -> None:
    question = [{"role": "user", "content": "question 3"}]
    more = write_rows(tmp_path / "more.jsonl", [{"id": "mine", "prompt": question, "reference": "answer 0"}])
    run(tmp_path / "out", talker, {**inputs, "data": [rows["prompts"], more]}, num_samples_per_prompt=8)
    (row,) = [row for row in written(tmp_path / "out") if row["prompt"] == question]
    assert (row["id"], row["reference"]) == ("mine", "answer 0")


def test_some_prompts_are_picked_by_the_seed(talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path) -> None:
    result = run(tmp_path / "out", talker, inputs, max_prompts=5)
    assert result.metrics["sample/num_prompts"] == 5
    prompts = [row["prompt"][0]["content"] for row in written(tmp_path / "out")]
    assert prompts != [f"question {i}" for i in range(len(prompts))]


def test_answers_come_unranked_when_no_reward_model_is_named(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    result = run(tmp_path / "out", talker, {"policy": "base", "data": inputs["data"]})
    assert "not ranked: no reward model was named" in result.summary
    assert all(row["rankings"] == [] and "scores" not in row for row in written(tmp_path / "out"))
    made = Source("made", DataSource(path=str(tmp_path / "out/comparisons.jsonl")))
    with pytest.raises(DataError, match="no ranking"):
        load(made, "comparison", "all")


@pytest.mark.parametrize("stop", [1, 2])
def test_stopped_and_resumed_run_writes_the_same_bytes(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    log = Log()
    run(tmp_path / "whole/out", talker, inputs)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", talker, inputs, keep=True, stop=stop)
    run(tmp_path / "parts/out", talker, inputs, log, keep=True)
    assert f"going on from batch {stop}" in log.said
    one, other = ((tmp_path / name / "out/comparisons.jsonl").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_dpo_learns_the_reward_models_order_from_the_sampled_rows(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    run(tmp_path / "sample", talker, inputs)
    given = {"policy": "base", "reference": "base", "data": tmp_path / "sample/comparisons.jsonl"}
    config = dpo.Config(policy="base", data="made", learning_rate=1e-2, max_steps=24, eval_prompts=0)
    log = Log()
    dpo.run(config, make_context(tmp_path / "dpo", talker, log, **given))
    margins = log.column("rewards/margins")
    assert margins[0] == 0
    assert sum(margins[-4:]) / 4 > 0.1
