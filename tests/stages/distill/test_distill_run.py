"""distill on the tiny model: what the teacher is told, which answers become rows, and what a student makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from tiny_run import BASE, Log, full_model, lora_model, make_context, write_rows

from pipeline.contract import Artifact, Context, DataSource, ModelConfig, Result, Samples, Source, TaskConfig
from pipeline.errors import DataError, Interrupted
from stages import distill, sft
from stages.formats import load
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.preview.preview import preview
from stages.rollout.generate import generate

SYSTEM = "Where is my order? It is on its way, thank you."
SMALL = {"data": "rows", "system": SYSTEM, "max_new_tokens": 12, "batch_size": 4}


def run(
    output: Path, model: ModelConfig, data: Any, log: Log | None = None, *, keep: bool = False, stop: int = 0,
    task: TaskConfig | None = None, **changes: Any,
) -> Result:  # fmt: skip
    context = make_context(output, model, log, keep=keep, stop=stop, policy="base", data=data)
    if task:
        context = with_task(context, task)
    return distill.run(distill.Config(**{**SMALL, **changes}), context)


def with_task(context: Context, task: TaskConfig) -> Context:
    return replace(context, data={"data": [replace(source, task=task) for source in context.data["data"]]})


def written(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()]


def alone(model: ModelConfig, chat: Chat, messages: list[dict[str, str]]) -> tuple[str, bool]:
    """The model's greedy answer to one conversation, and whether it ended."""
    backbone = open_backbone(model)
    backbone.load("base", BASE)
    ids = [chat.prompt_ids(messages)]
    (found,) = generate(backbone, "base", chat, ids, max_new_tokens=12, temperature=0, seed=1, purpose="x")
    return chat.decode(found.ids), found.ended


def test_rows_are_the_bare_prompts_with_the_greedy_answers_under_the_system_prompt(
    talker: ModelConfig, chat: Chat, rows: dict[str, Path], tmp_path: Path
) -> None:
    run(tmp_path / "out", talker, rows["prompts"], temperature=0)
    found = {row["messages"][0]["content"]: row["messages"] for row in written(tmp_path / "out")}
    for i in range(12):
        question = {"role": "user", "content": f"question {i}"}
        text, ended = alone(talker, chat, [{"role": "system", "content": SYSTEM}, question])
        expected = [question, {"role": "assistant", "content": text}] if ended and text.strip() else None
        assert found.get(f"question {i}") == expected
    assert found


def test_system_prompt_stands_above_the_prompts_own_which_alone_is_in_the_row(
    talker: ModelConfig, chat: Chat, tmp_path: Path
) -> None:
    own = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "question 3"}]
    data = write_rows(tmp_path / "own.jsonl", [{"id": "mine", "prompt": own}])
    result = run(tmp_path / "out", talker, data, temperature=0)
    text, _ = alone(talker, chat, [{"role": "system", "content": f"{SYSTEM}\n\nBe kind."}, own[1]])
    assert written(tmp_path / "out") == [{"id": "mine", "messages": [*own, {"role": "assistant", "content": text}]}]
    added = chat.tokenizer(f"{SYSTEM}\n\n", add_special_tokens=False)["input_ids"]
    assert result.metrics["distill/tokens_saved"] == len(added)


def test_row_lies_on_its_prompts_side(talker: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    run(tmp_path / "out", talker, rows["prompts"], num_samples_per_prompt=8)
    made = Source("made", DataSource(path=str(tmp_path / "out/rows.jsonl")), heldout_fraction=0.3)
    asked = Source("asked", DataSource(path=str(rows["prompts"])), heldout_fraction=0.3)
    heldout = {record.prompt_key for record in load(asked, "prompt", "heldout").records}
    own = {record.prompt_key for record in load(made, "instruction", "heldout").records}
    assert own and own <= heldout
    assert not heldout & {record.prompt_key for record in load(made, "instruction", "train").records}


def test_every_answer_is_a_row_or_counted_as_left_out(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    result = run(tmp_path / "out", talker, rows["prompts"], num_samples_per_prompt=6, max_new_tokens=8)
    found, counts = written(tmp_path / "out"), result.metrics
    pairs = [(row["messages"][0]["content"], row["messages"][1]["content"]) for row in found]
    assert len(set(pairs)) == len(pairs) == counts["distill/num_rows"]
    assert len({row["id"] for row in found}) == len(found)
    left_out = [counts[f"distill/num_{why}"] for why in ("cut_off", "empty_or_repeated", "failing")]
    assert sum(left_out) + len(found) == 12 * 6
    assert counts["distill/num_cut_off"] == pytest.approx(72 * (1 - counts["distill/ended"]))
    assert left_out[0] > 0 and left_out[1] > 0 and left_out[2] == 0


def test_only_answers_that_pass_the_task_are_kept(talker: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    asked = [{"prompt": [{"role": "user", "content": f"question {i}"}], "reference": i % 3} for i in range(12)]
    data = write_rows(tmp_path / "asked.jsonl", asked)
    given = {"num_samples_per_prompt": 8, "only_passing": True, "task": TaskConfig(checks=("number",))}
    result = run(tmp_path / "out", talker, data, **given)
    found = written(tmp_path / "out")
    for row in found:
        question, answer = (message["content"] for message in row["messages"])
        assert answer.endswith(str(int(question.split()[1]) % 3))
    assert found and result.metrics["distill/num_failing"] > 0
    assert 0 < result.metrics["distill/passing"] < 1


def test_only_passing_is_refused_when_nothing_would_be_checked(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="no source of its data names a task"):
        run(tmp_path / "out", talker, rows["prompts"], only_passing=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 1}, "ended and is not empty"),
        ({"only_passing": True, "task": TaskConfig(json_schema={"type": "array"})}, "passes the checks of its task"),
    ],
)
def test_teacher_without_one_usable_answer_is_refused(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        run(tmp_path / "out", talker, rows["prompts"], **changes)
    assert not (tmp_path / "out/rows.jsonl").exists()


@pytest.mark.parametrize("changes", [{"temperature": 0, "num_samples_per_prompt": 2}, {"system": " \n"}])
def test_config_that_cannot_be_meant_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"raise temperature|system"):
        distill.Config(**{**SMALL, **changes})


@pytest.mark.parametrize("stop", [1, 2])
def test_stopped_and_resumed_run_writes_the_same_bytes(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path, stop: int
) -> None:
    log = Log()
    run(tmp_path / "whole/out", talker, rows["prompts"])
    with pytest.raises(Interrupted):
        run(tmp_path / "parts/out", talker, rows["prompts"], keep=True, stop=stop)
    run(tmp_path / "parts/out", talker, rows["prompts"], log, keep=True)
    assert f"going on from batch {stop}" in log.said
    one, other = ((tmp_path / name / "out/rows.jsonl").read_bytes() for name in ("whole", "parts"))
    assert one == other


def test_preview_shows_what_the_teacher_reads(talker: ModelConfig, chat: Chat, rows: dict[str, Path]) -> None:
    given = Source("rows", DataSource(path=str(rows["prompts"]), split="all"))
    found = preview("distill", "distill", distill.Config(**SMALL), model=talker, seed=17,
                    sources={"data": ("prompt", [given])}, rows=1)  # fmt: skip
    shown = "".join(piece.text for piece in found.sections[0].rows[0].parts[0].pieces)
    assert shown.startswith(f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nquestion 0<|im_end|>")


def test_report_shows_the_prompt_without_the_system_prompt(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    result = run(tmp_path / "out", talker, rows["prompts"], num_shown=2)
    samples = result.fragments[-1]
    assert isinstance(samples, Samples)
    first = written(tmp_path / "out")[0]["messages"]
    assert samples.rows[0] == {"prompt": f"user: {first[0]['content']}", "answers": [first[1]["content"]]}
    assert len(samples.rows) == 2 and SYSTEM in samples.note


@pytest.fixture(scope="module")
def obedient(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """The tiny model once it has learnt to answer "no" where it is told to, and "yes" where it is not."""
    asked = [{"role": "user", "content": f"question {i}"} for i in range(16)]
    orders = [([{"role": "system", "content": "Say no."}], "no"), ([], "yes")]
    taught = [{"messages": [*told, a, {"role": "assistant", "content": text}]} for told, text in orders for a in asked]
    folder = tmp_path_factory.mktemp("obedient")
    data = write_rows(folder / "rows.jsonl", taught)
    config = sft.Config(data="rows", max_steps=80, learning_rate=5e-3, eval_prompts=0, gradient_accumulation_steps=1)
    sft.run(config, make_context(folder / "sft", full_model(tiny_model), policy="base", data=data))
    return lora_model(folder / "sft")


def test_student_answers_heldout_prompts_unasked_as_the_teacher_does_when_told(
    obedient: ModelConfig, chat: Chat, rows: dict[str, Path], tmp_path: Path
) -> None:
    run(tmp_path / "distill", obedient, rows["prompts"], temperature=0, system="Say no.")
    config = sft.Config(data="rows", learning_rate=1e-2, max_steps=30, eval_prompts=0, gradient_accumulation_steps=1)
    made = tmp_path / "distill/rows.jsonl"
    sft.run(config, make_context(tmp_path / "sft", obedient, policy="base", data=made))
    backbone = open_backbone(obedient)
    backbone.load("base", BASE)
    backbone.load("student", Artifact("sft", "policy", tmp_path / "sft"))
    asked = Source("asked", DataSource(path=str(rows["prompts"])), heldout_fraction=0.3)
    ids = [chat.prompt_ids(record.prompt) for record in load(asked, "prompt", "heldout").records]
    assert {row["messages"][-1]["content"] for row in written(tmp_path / "distill")} == {"no"}
    for role, expected in (("base", "yes"), ("student", "no")):
        found = generate(backbone, role, chat, ids, max_new_tokens=4, temperature=0, seed=1, purpose="x")
        assert [chat.decode(completion.ids) for completion in found] == [expected] * len(ids)
