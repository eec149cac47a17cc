"""Every check on real rows: their own references score 1, those of other rows close to nothing."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract import DataSource, Source, TaskConfig
from stages.evaluate.checks import instructions
from stages.evaluate.checks.labels import WHOLE, read_labels
from stages.evaluate.checks.task import check_answer
from stages.formats.load import load
from stages.objectives.classification import macro_f1

DATA = Path(os.environ.get("POSTTUNE_TEST_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")
SCHEMA = DATA / "extraction/snips_schema.json"


def read(file: str, **options: Any) -> Sequence[Any]:
    source = Source("rows", DataSource(path=str(DATA / file), split="all", on_bad_row="skip", **options))
    return load(source, "prompt", "all").records


def means(pairs: Sequence[tuple[str, Any]], task: TaskConfig) -> dict[str, float]:
    found = [check_answer(text, reference, task) for text, reference in pairs]
    names = {name for one in found for name in one if "/" not in name}
    return {name: sum(one.get(name, 0.0) for one in found) / len(found) for name in names}


def own_and_others(rows: Sequence[Any], task: TaskConfig) -> tuple[dict[str, float], dict[str, float]]:
    references = [row.reference for row in rows]
    others = random.Random(1).sample(references, len(references))
    return (
        means(list(zip(references, references, strict=True)), task),
        means(list(zip(others, references, strict=True)), task),
    )


@pytest.mark.parametrize(
    ("file", "most"), [("snips_slots.jsonl", 0.15), ("nlupp_banking.json", 0.3), ("nlupp_hotels.json", 0.3)]
)
def test_fields_of_extraction(file: str, most: float) -> None:
    rows = read(f"extraction/{file}", format="extraction")
    own, others = own_and_others(rows, TaskConfig(checks=("fields",)))
    assert own["field_accuracy"] == own["field_f1"] == 1
    assert others["field_accuracy"] < most


def test_schema_of_extraction() -> None:
    task = TaskConfig(json_schema=json.loads(SCHEMA.read_text("utf-8")))
    own, _ = own_and_others(read("extraction/snips_slots.jsonl"), task)
    assert own["valid_json"] == 1


@pytest.mark.parametrize(
    ("file", "num_labels", "most"), [("banking77_test.csv", 77, 0.03), ("snips_intents.csv", 7, 0.2)]
)
def test_label_sets(file: str, num_labels: int, most: float) -> None:
    rows = read(f"classification/{file}")
    task = TaskConfig(label_set=tuple(sorted({row.reference for row in rows})))
    assert len(task.label_set or ()) == num_labels
    own, others = own_and_others(rows, task)
    assert own == {"label_accuracy": 1, "in_label_set": 1}
    assert others["in_label_set"] == 1 and others["label_accuracy"] < most
    labels = read_labels([(row.reference, row.reference, task) for row in rows])[WHOLE]
    assert macro_f1(labels.given, labels.wanted) == 1


def test_numbers_of_gsm8k() -> None:
    own, others = own_and_others(read("math/gsm8k_test.jsonl"), TaskConfig(checks=("number",)))
    assert own["number_right"] == 1 and others["number_right"] < 0.03


def test_number_agrees_with_the_verdicts_on_model_solutions() -> None:
    task, verdicts = TaskConfig(checks=("number",)), []
    with gzip.open(DATA / "math/gsm8k_model_solutions.jsonl.gz", "rt", encoding="utf-8") as stream:
        for row in map(json.loads, stream):
            for one in (value for value in row.values() if isinstance(value, dict)):
                found = check_answer(one["solution"], row["ground_truth"], task)
                verdicts.append(found["number_right"] == one["is_correct"])
    assert sum(verdicts) / len(verdicts) > 0.99


def test_texts_of_squad() -> None:
    own, others = own_and_others(read("rag/xquad_en.json"), TaskConfig(checks=("exact", "f1", "rouge")))
    assert own["exact"] == own["f1"] == 1 and own["rouge"] > 0.99
    assert others["exact"] < 0.01 and others["f1"] < 0.05 and others["rouge"] < 0.05


def first_text(answer: Any) -> str:
    """Of an answer with its other spellings, which are lists in lists."""
    return first_text(answer[0]) if isinstance(answer, list) else answer


def test_support_tells_true_answers_from_planted_ones() -> None:
    task, right, planted = TaskConfig(checks=("supported",)), [], []
    for line in (DATA / "rag/rgb_counterfactual.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        right.append(check_answer(first_text(row["answer"]), None, task, row["positive"])["supported"])
        planted.append(check_answer(first_text(row["fakeanswer"]), None, task, row["positive"])["supported"])
    assert sum(right) / len(right) > 0.85 > 0.5 > sum(planted) / len(planted)


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in instructions.PACKAGES), reason="lm-eval is not installed"
)
def test_instructions_of_ifeval_agree_with_lm_evals_own_loop() -> None:
    from lm_eval.tasks.ifeval.utils import InputExample, test_instruction_following_strict

    task, compared = TaskConfig(checks=("instructions",)), 0
    with gzip.open(DATA / "ifeval/ifeval_example_responses.jsonl.gz", "rt", encoding="utf-8") as stream:
        answers = {row["prompt"]: row["response"] for row in map(json.loads, stream)}
    for row in read("ifeval/ifeval_prompts.jsonl"):
        prompt, rules = row.prompt[0]["content"], row.reference
        found = check_answer(answers[prompt], rules, task)
        if "all_instructions_followed" in found:
            example = InputExample(0, rules["instruction_id_list"], prompt, rules["kwargs"])
            theirs = test_instruction_following_strict(example, answers[prompt])
            assert found["all_instructions_followed"] == theirs.follow_all_instructions
            compared += 1
    assert compared >= 239  # of 275: all but those with a rule that needs punkt_tab
