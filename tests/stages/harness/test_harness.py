"""lm-eval's tasks on the tiny model: a local task file, checked against plain transformers."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_run import make_context
from transformers import AutoModelForCausalLM

from pipeline.contract import Context, DataSource, ModelConfig, Source, Table
from pipeline.errors import DataError, RecipeError, StageFailed
from stages import harness
from stages.modeling.chat import Chat
from stages.modeling.locate import locate

needs_lm_eval = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")

QUESTIONS = [(f"Where is order {n}?", ["on its way", "lost", "here"], n % 3) for n in range(9)]
TASK = """
task: orders
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{label}}}}"
metric_list: [{{metric: acc}}]
"""


@pytest.fixture
def task_files(tmp_path: Path) -> Source:
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [{"question": q, "choices": choices, "label": label} for q, choices, label in QUESTIONS]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    (folder / "orders.yaml").write_text(TASK.format(file=tmp_path / "orders.jsonl"), "utf-8")
    return Source("mine", DataSource(path=str(folder)))


@pytest.fixture
def context(model: ModelConfig, policies: list[Path], task_files: Source, tmp_path: Path) -> Context:
    made = make_context(tmp_path / "out", model, candidates=["base", *policies])
    return replace(made, data={"task_files": [task_files]})


def config(*tasks: str) -> harness.Config:
    return harness.Config(candidates=("base",), tasks=tasks, task_files="mine", apply_chat_template=False)


def chosen(model: AutoModelForCausalLM, chat: Chat, question: str, choices: list[str]) -> int:
    """The choice whose tokens are likeliest after the question and a space."""
    sums = []
    for choice in choices:
        asked, whole = (chat.tokenizer(text, add_special_tokens=False).input_ids for text in
                        (question, f"{question} {choice}"))  # fmt: skip
        with torch.no_grad():
            logprobs = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        sums.append(sum(float(logprobs[i - 1, whole[i]]) for i in range(len(asked), len(whole))))
    return sums.index(max(sums))


@needs_lm_eval
def test_accuracy_is_that_of_plain_transformers_and_peft(
    context: Context, model: ModelConfig, chat: Chat, policies: list[Path]
) -> None:
    from peft import PeftModel

    result = harness.run(config("orders"), context)
    for name, adapter in (("base", None), ("policy-1", policies[0]), ("policy-2", policies[1])):
        plain = AutoModelForCausalLM.from_pretrained(locate(model).path, dtype=torch.float32)
        plain = PeftModel.from_pretrained(plain, str(adapter)) if adapter else plain
        right = [chosen(plain.eval(), chat, q, choices) == label for q, choices, label in QUESTIONS]
        assert result.metrics[f"{name}/orders/acc"] == pytest.approx(sum(right) / len(right))
    (table,) = result.fragments
    assert isinstance(table, Table)
    assert table.columns == ["task/metric", "base", "policy-1", "policy-2"]
    assert str(table.rows[0][1]).startswith(f"{result.metrics['base/orders/acc']:.3f} ± ")


@needs_lm_eval
def test_unknown_task_is_refused_with_the_nearest(context: Context) -> None:
    with pytest.raises(
        RecipeError, match="'ordres' is no task of lm-eval or of task_files\n  -> did you mean 'orders'"
    ):
        harness.run(config("ordres"), context)


@needs_lm_eval
def test_task_without_its_data_is_one_message(context: Context, tmp_path: Path) -> None:
    (tmp_path / "orders.jsonl").unlink()
    with pytest.raises(StageFailed, match=r"lm-eval could not run orders: .*orders\.jsonl"):
        harness.run(config("orders"), context)


@needs_lm_eval
def test_task_files_that_are_no_folder_are_refused(context: Context, tmp_path: Path) -> None:
    nothing = Source("mine", DataSource(path=str(tmp_path / "nothing")))
    with pytest.raises(DataError, match="nothing is no folder"):
        harness.run(config("orders"), replace(context, data={"task_files": [nothing]}))


def test_plan_says_that_task_files_may_name_code() -> None:
    assert config("orders").foreign_code() == {"task_files": "what the task files of mine name"}
    assert harness.Config(candidates=("base",), tasks=("arc_easy",)).foreign_code() == {}


def test_missing_package_is_told(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.harness.harness.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"lm-eval is not installed\n  -> pip install 'posttune\[lm-eval\]'"):
        harness.run(config("orders"), context)
