"""Forgetting on the tiny model: figures against plain transformers, and what is warned of."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import BASE, make_context, shake, write_rows

from pipeline.contract import DataSource, ModelConfig, Source, Table, TaskConfig
from pipeline.errors import DataError, Interrupted
from stages import evaluate
from stages.evaluate.measuring import forgetting as module
from stages.evaluate.measuring.forgetting import Forgetting, forgetting, general_questions, general_texts
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.rollout.sequences import Sequences

CONFIG = evaluate.Config(candidates=("base",), data="rows", general="rows", max_new_tokens=12)


def general(path: Path, name: str = "general", task: TaskConfig | None = None, **changes: Any) -> Source:
    return Source(name, DataSource(path=str(path), **{"split": "all", **changes}), task or TaskConfig())


def measured(
    model: ModelConfig, folder: Path, sources: list[Source], noise: float, *, stop: int = 0
) -> tuple[Forgetting, Backbone]:
    """What is found of the base and of an adapter whose B matrices are noise of that size."""
    context = make_context(folder, model, stop=stop, data="none")
    context = replace(context, data={"general": sources})
    chat, backbone = load_chat(model), open_backbone(model)
    backbone.load("b", BASE)
    backbone.load("t", BASE, trainable=True, seed=5)
    shake(backbone, "t", 5, size=noise)
    prompt = chat.prompt_ids([{"role": "user", "content": "question 1"}])
    own = {name: Sequences([prompt, prompt[:4]], [[5, 6, 2], [7]]) for name in ("base", "tuned")}
    roles = {"base": "b", "tuned": "t"}
    return forgetting(backbone, chat, context, CONFIG, general_texts(context, chat), roles=roles, own=own), backbone


@torch.no_grad()
def slow(backbone: Backbone, role: str, rows: list[tuple[list[int], list[int]]]) -> list[torch.Tensor]:
    """The full log-softmax [tokens, V] before each completion token, a row at a time, in float64."""
    found = []
    for prompt, completion in rows:
        with backbone.model(role) as model:
            logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
        found.append(logits[len(prompt) - 1 : -1].double().log_softmax(-1))
    return found


def as_ids(chat: Chat, path: Path) -> list[tuple[list[int], list[int]]]:
    """Prompt and answer of each row, split by the text that the template writes."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        *prompt, answer = json.loads(line)["messages"]
        ids = chat.tokenizer(answer["content"] + "<|im_end|>", add_special_tokens=False)["input_ids"]
        found.append((chat.prompt_ids(prompt), ids))
    return found


def cells(table: Table, figure: str) -> list[Any]:
    (row,) = [row for row in table.rows if row[0] == figure]
    return list(row[1:])


def test_perplexity_and_kl_equal_a_plain_forward_of_each_row(
    talker: ModelConfig, chat: Chat, rows: dict[str, Path], tmp_path: Path
) -> None:
    found, backbone = measured(talker, tmp_path / "out", [general(rows["instructions"])], noise=0.05)
    data = as_ids(chat, rows["instructions"])
    nll: dict[str, float] = {}
    full = {role: slow(backbone, role, data) for role in ("b", "t")}
    for name, role in (("base", "b"), ("tuned", "t")):
        own = [p[range(len(ids)), ids] for p, (_, ids) in zip(full[role], data, strict=True)]
        nll[name] = -float(torch.cat(own).mean())
        expected = math.exp(nll[name])
        assert found.metrics[f"{name}/general_perplexity/general"] == pytest.approx(expected, rel=1e-4)
    p, q = (torch.cat(full[role]) for role in ("t", "b"))
    kl = float((p.exp() * (p - q)).sum(-1).mean())
    assert found.metrics["tuned/general_KL_to_base/general"] == pytest.approx(kl, rel=1e-4)
    assert kl > 0.001
    told = cells(found.tables[0], "general: loss less base's")
    assert told[0] is None and float(told[1].split()[0]) == pytest.approx(nll["tuned"] - nll["base"], rel=5e-3)


def test_kl_along_own_answers_is_a_mean_over_their_tokens(
    talker: ModelConfig, chat: Chat, rows: dict[str, Path], tmp_path: Path
) -> None:
    found, backbone = measured(talker, tmp_path / "out", [general(rows["instructions"])], noise=0.05)
    prompt = chat.prompt_ids([{"role": "user", "content": "question 1"}])
    p, q = (torch.cat(slow(backbone, role, [(prompt, [5, 6, 2]), (prompt[:4], [7])])) for role in ("t", "b"))
    assert found.metrics["tuned/own_KL_to_base"] == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=1e-4)
    assert cells(found.tables[0], "own answers: KL to base")[0] is None


def test_interval_is_over_rows_and_not_over_tokens(talker: ModelConfig, tmp_path: Path) -> None:
    """One row of many tokens, so nothing is known of other rows: the interval is a point."""
    said = [{"role": "user", "content": "question 1"}, {"role": "assistant", "content": "Where is my order? " * 8}]
    data = write_rows(tmp_path / "one.jsonl", [{"messages": said}])
    found, _ = measured(talker, tmp_path / "out", [general(data)], noise=0.05)
    mean, low, high = cells(found.tables[0], "general: perplexity")[1].replace("[", "").replace("]", "").split()
    assert f"{mean}," == low == f"{high},"


def test_damaged_model_is_warned_of_with_both_perplexities(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    found, _ = measured(talker, tmp_path / "out", [general(rows["instructions"])], noise=0.5)
    (warning,) = found.warnings
    before, after = (found.metrics[f"{name}/general_perplexity/general"] for name in ("base", "tuned"))
    assert after > 1.5 * before
    assert f"perplexity went from {before:.3g} to {after:.3g}, {after / before - 1:+.0%}" in warning
    assert warning.startswith("tuned has forgotten") and "'general'" in warning


@pytest.mark.parametrize("noise", [0.0, 0.002])
def test_model_that_was_hardly_touched_is_not_warned_of(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path, noise: float
) -> None:
    found, _ = measured(talker, tmp_path / "out", [general(rows["instructions"])], noise=noise)
    assert found.warnings == []
    ratio = found.metrics["tuned/general_perplexity/general"] / found.metrics["base/general_perplexity/general"]
    assert (ratio == 1) == (noise == 0)
    assert (found.metrics["tuned/general_KL_to_base/general"] == pytest.approx(0, abs=1e-6)) == (noise == 0)


def test_rise_that_rows_disagree_on_is_not_warned_of() -> None:
    """Half of the rows got far likelier and half far less likely: the mean alone would alarm."""
    texts = module.Texts("general", Sequences([[1]] * 4, [[5]] * 4), "general 4 of 4 rows")
    nll = {"base": torch.ones(4), "tuned": torch.tensor([9.0, -5.0, 9.0, -5.0])}
    read = {name: module.Reading(own, own if name == "tuned" else None) for name, own in nll.items()}
    found = Forgetting([], [], {})
    module._told(texts, read, found)
    assert found.metrics["tuned/general_perplexity/general"] > 1.1 * found.metrics["base/general_perplexity/general"]
    assert found.warnings == []


def test_each_source_is_judged_on_its_own(talker: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    """Letters that the model never met are no less likely to it after the damage than before."""
    unknown = [
        {"messages": [{"role": "user", "content": f"{i}"}, {"role": "assistant", "content": chr(200 + i) * 9}]}
        for i in range(12)
    ]
    sources = [general(write_rows(tmp_path / "u.jsonl", unknown), "unknown"), general(rows["instructions"], "known")]
    found, _ = measured(talker, tmp_path / "out", sources, noise=0.5)
    (warning,) = found.warnings
    assert "'known'" in warning
    assert found.metrics["base/general_perplexity/unknown"] > 300 > found.metrics["base/general_perplexity/known"]


def test_general_task_is_answered_and_what_got_worse_is_warned_of(talker: ModelConfig, tmp_path: Path) -> None:
    """The talker answers some questions with the right number; noise takes that away."""
    talks = [
        {
            "messages": [
                {"role": "user", "content": f"question {i}"},
                {"role": "assistant", "content": f"answer {i % 3}"},
            ]
        }
        for i in range(48)
    ]
    source = general(write_rows(tmp_path / "talks.jsonl", talks), task=TaskConfig(checks=("number",)))
    found, _ = measured(talker, tmp_path / "out", [source], noise=0.5)
    assert [table.title for table in found.tables] == ["What tuning was not meant to touch", "General tasks"]
    assert found.metrics["base/general/number_right"] > found.metrics["tuned/general/number_right"]
    (warning,) = [w for w in found.warnings if "number_right" in w]
    assert warning.startswith("tuned is worse than base at a task")
    assert not any("length" in w or "ended" in w for w in found.warnings)


def test_general_questions_are_those_of_sources_with_a_task(chat: Chat, rows: dict[str, Path]) -> None:
    task = TaskConfig(checks=("number",))
    sources = [general(rows["prompts"]), general(rows["instructions"], "checked", task)]
    assert [q.task for q in general_questions(sources, chat, None, 1)] == [task] * 12
    assert len(general_questions(sources, chat, 5, 1)) == 5
    assert general_questions(sources[:1], chat, None, 1) == []


def test_rows_are_of_the_heldout_side_and_at_most_so_many(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = replace(general(rows["instructions"], split=None), heldout_fraction=0.3)
    assert "general 4 of 4 rows" in measured(talker, tmp_path / "a", [source], noise=0)[0].tables[0].note
    monkeypatch.setattr(module, "MAX_ROWS", 3)
    assert "general 3 of 4 rows" in measured(talker, tmp_path / "b", [source], noise=0)[0].tables[0].note


def test_longer_rows_are_left_out_and_counted(
    talker: ModelConfig, rows: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = [{"role": "user", "content": "x" * 300}, {"role": "assistant", "content": "y"}]
    data = write_rows(tmp_path / "long.jsonl", [{"messages": long}])
    monkeypatch.setattr(module, "MAX_LENGTH", 100)
    both = write_rows(tmp_path / "both.jsonl", [json.loads(x) for f in (data, rows["instructions"])
                                               for x in f.read_text("utf-8").splitlines()])  # fmt: skip
    found, _ = measured(talker, tmp_path / "out", [general(both)], noise=0)
    assert "general 12 of 13 rows (1 longer than 100 tokens)" in found.tables[0].note
    with pytest.raises(DataError, match="none of 1 rows has at most 100 tokens"):
        measured(talker, tmp_path / "none", [general(data)], noise=0)


def test_stop_is_obeyed_between_candidates(talker: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        measured(talker, tmp_path / "out", [general(rows["instructions"])], noise=0, stop=1)
