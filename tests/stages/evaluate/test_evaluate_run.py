"""evaluate on the tiny model: unique questions, and figures that equal a recomputation by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import make_context, titled, write_rows

from pipeline.contract import Artifact, Context, DataSource, ModelConfig, Result, Source, Table, TaskConfig
from pipeline.errors import DataError, Interrupted
from stages import evaluate, rm, sft
from stages.evaluate.answers import heldout_questions
from stages.evaluate.report import ANSWERS
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.objectives.comparisons import NUM_RESAMPLES, difference, interval
from stages.objectives.statistics import bootstrap_ci
from stages.rollout.generate import generate
from stages.rollout.score import all_scores, token_kl
from stages.rollout.sequences import Sequences

TASK = TaskConfig(json_schema={"type": "object"}, labels={"category": ("a", "b")})


def source(path: Path, task: TaskConfig = TASK, **changes: Any) -> Source:
    return Source("rows", DataSource(path=str(path), split="all", **changes), task)


@pytest.fixture
def context(model: ModelConfig, policies: list[Path], reward: Path, rows: dict[str, Path], tmp_path: Path) -> Context:
    made = make_context(tmp_path / "out", model, candidates=["base", *policies], reward=reward, reference=policies[0],
                        data=rows["prompts"])  # fmt: skip
    return replace(made, data={"data": [source(rows["prompts"])]})


@pytest.fixture
def result(context: Context) -> Result:
    return evaluate.run(evaluate.Config(candidates=("base",), data="rows", max_new_tokens=5, batch_size=5), context)


def cell(table: Any, figure: str, column: str) -> str:
    (row,) = [row for row in table.rows if row[0] == figure]
    return str(row[table.columns.index(column)])


def told(triple: tuple[float, float, float]) -> str:
    mean, low, high = triple
    return f"{mean:.3g} [{low:.3g}, {high:.3g}]"


@pytest.fixture
def by_hand(model: ModelConfig, chat: Chat, policies: list[Path], reward: Path, tmp_path: Path) -> dict[str, Any]:
    """Per candidate: answer lengths, whether they ended, scores, and KL to policy-1."""
    backbone, head = open_backbone(model), ScalarHead.load(reward, 40)
    backbone.load("reward", Artifact("rm", "reward", reward))
    backbone.load("policy-1", Artifact("a", "policy", policies[0]))
    backbone.load("policy-2", Artifact("b", "policy", policies[1]))
    backbone.load("base", Artifact("base", "policy"))
    prompts = [chat.prompt_ids([{"role": "user", "content": f"question {i}"}]) for i in range(12)]
    found: dict[str, Any] = {}
    for name in ("base", "policy-1", "policy-2"):
        answers = generate(backbone, name, chat, prompts, max_new_tokens=5, temperature=0.0, seed=1, purpose="x")
        rows = Sequences(prompts, [c.ids for c in answers])
        found[name] = {
            "length": torch.tensor([float(len(c.ids)) for c in answers]),
            "ended": torch.tensor([float(c.ids[-1] in chat.stop_ids) for c in answers]),
            "proxy score": all_scores(backbone, "reward", head, rows),
            "KL to policy-1": token_kl(backbone, name, "policy-1", rows).sum(1),
        }
    return found


@pytest.mark.parametrize("figure", ["length", "ended", "proxy score", "KL to policy-1"])
def test_table_and_intervals_equal_a_recomputation(result: Result, by_hand: dict[str, Any], figure: str) -> None:
    table, differences, to_reference = (
        titled(result, title)
        for title in ("Candidates on held-out prompts", "Difference from base", "Difference from policy-1")
    )
    for name, own in by_hand.items():
        values = own[figure].tolist()
        is_better_or_worse = figure in ("ended", "proxy score")
        assert cell(table, figure, name) == told(
            interval(values) if is_better_or_worse else bootstrap_ci(values, NUM_RESAMPLES)
        )
        expected = float(own[figure].mean())
        assert result.metrics[f"{name}/{figure.replace(' ', '_')}"] == pytest.approx(expected, abs=1e-5)
    for name in ("policy-1", "policy-2"):
        expected_text = told(difference(by_hand[name][figure].tolist(), by_hand["base"][figure].tolist()))
        assert cell(differences, figure, name) == expected_text
    expected_text = told(difference(by_hand["policy-2"][figure].tolist(), by_hand["policy-1"][figure].tolist()))
    assert cell(to_reference, figure, "policy-2") == expected_text


def test_win_rate_counts_a_tie_half(result: Result, by_hand: dict[str, Any]) -> None:
    base = by_hand["base"]["proxy score"]
    for name in ("policy-1", "policy-2"):
        own = by_hand[name]["proxy score"]
        wins = (own > base).float() + 0.5 * (own == base).float()
        assert result.metrics[f"{name}/win_rate_under_proxy"] == pytest.approx(float(wins.mean()))
    assert "base/win_rate_under_proxy" not in result.metrics


def test_kl_of_the_reference_to_itself_is_zero(result: Result) -> None:
    assert result.metrics["policy-1/KL_to_policy-1"] == 0
    assert result.metrics["base/KL_to_policy-1"] > 0


def test_report_shows_prompts_answers_and_scores(result: Result, by_hand: dict[str, Any]) -> None:
    samples = result.fragments[-1]
    assert not isinstance(samples, Table)
    assert samples.candidates == ["base", "policy-1", "policy-2"]
    assert len(samples.rows) == 12 and len(samples.rows[0]["answers"]) == 3
    assert samples.rows[3]["prompt"] == "user: question 3"
    shown = samples.rows[3]["figures"]["proxy score"]
    assert shown[1] == pytest.approx(float(by_hand["policy-1"]["proxy score"][3]), abs=1e-5)


def test_score_is_in_the_normalised_units_of_its_head(context: Context, reward: Path, tmp_path: Path) -> None:
    folder = tmp_path / "scaled"
    shutil.copytree(reward, folder)
    head = ScalarHead.load(reward, 40)
    head.mean.fill_(3.0)
    head.std.fill_(2.0)
    head.save(folder)
    config = evaluate.Config(candidates=("base",), data="rows", max_new_tokens=5)
    raw = evaluate.run(config, context).metrics["base/proxy_score"]
    scaled = evaluate.run(
        config, replace(context, inputs={**context.inputs, "reward": [Artifact("s", "reward", folder)]})
    )
    assert scaled.metrics["base/proxy_score"] == pytest.approx((raw - 3.0) / 2.0, abs=1e-5)


def test_only_reward_model_that_is_named_as_the_second_is_no_proxy_too(context: Context, reward: Path) -> None:
    both = {**context.inputs, "second_reward": [Artifact("rm", "reward", reward)]}
    config = evaluate.Config(candidates=("base",), data="rows", max_new_tokens=2)
    metrics = evaluate.run(config, replace(context, inputs=both)).metrics
    assert "base/second_reward_model's_score" in metrics and "base/proxy_score" not in metrics


def test_heldout_questions_hold_each_prompt_once_with_its_reference(chat: Chat, tmp_path: Path) -> None:
    def row(i: int, **more: Any) -> dict[str, Any]:
        return {"prompt": [{"role": "user", "content": f"question {i}"}], **more}

    one = write_rows(tmp_path / "one.jsonl", [row(1), row(1), row(2)])
    two = write_rows(tmp_path / "two.jsonl", [row(2, reference={"category": "a"}), row(3, reference={"category": "b"})])
    found = heldout_questions([source(one), source(two)], chat, None, seed=1)
    assert [q.text for q in found] == ["user: question 1", "user: question 2", "user: question 3"]
    assert [q.reference for q in found] == [None, {"category": "a"}, {"category": "b"}]


def test_prompt_keeps_its_first_sources_task_where_no_source_has_a_reference(chat: Chat, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "one.jsonl", [{"prompt": "question 1"}])
    (found,) = heldout_questions([source(file), source(file, TaskConfig())], chat, None, seed=1)
    assert found.task == TASK


def test_limit_takes_the_same_questions_every_time(chat: Chat, rows: dict[str, Path]) -> None:
    picked = [[q.text for q in heldout_questions([source(rows["prompts"])], chat, 5, seed)] for seed in (1, 1, 2)]
    assert picked[0] == picked[1] != picked[2]
    assert len(set(picked[0])) == 5
    assert heldout_questions([source(rows["prompts"])], chat, 0, 1) == []


def test_questions_are_of_the_heldout_side(chat: Chat, rows: dict[str, Path]) -> None:
    given = Source("rows", DataSource(path=str(rows["prompts"])), heldout_fraction=0.3)
    found = [q.text for q in heldout_questions([given], chat, None, 1)]
    assert found == [f"user: question {i}" for i in (0, 1, 4, 11)]


def test_stop_is_obeyed_between_batches(context: Context) -> None:
    config = evaluate.Config(candidates=("base",), data="rows", max_new_tokens=2, batch_size=4)
    with pytest.raises(Interrupted):
        evaluate.run(config, replace(context, should_stop=lambda: True))


class Counted:
    """A progress display that counts the batches of each candidate's answers."""

    def __init__(self) -> None:
        self.batches: list[str] = []

    @contextmanager
    def __call__(self, description: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: self.batches.append(description) if description.endswith(" answers") else None


def test_stopped_evaluation_goes_on_behind_the_candidates_that_have_answered(context: Context, tmp_path: Path) -> None:
    config = evaluate.Config(candidates=("base",), data="rows", max_new_tokens=5, batch_size=4)
    expected, whole = evaluate.run(config, context), (context.output / ANSWERS).read_bytes()
    counted, said = Counted(), list[str]()
    again = replace(context, checkpoints=tmp_path / "checkpoints", say=said.append, progress=counted)
    with pytest.raises(Interrupted):
        evaluate.run(config, replace(again, should_stop=lambda: len(counted.batches) > 4))
    assert counted.batches == ["base answers"] * 3 + ["policy-1 answers"] * 2
    counted.batches.clear()
    result = evaluate.run(config, again)
    assert counted.batches == ["policy-1 answers"] * 3 + ["policy-2 answers"] * 3
    assert "going on: the answers of base are kept" in said
    assert (context.output / ANSWERS).read_bytes() == whole
    assert result.metrics == expected.metrics


def test_damaged_checkpoint_of_answers_is_set_aside_for_the_one_before(context: Context, tmp_path: Path) -> None:
    config = evaluate.Config(candidates=("base",), data="rows", max_new_tokens=5, batch_size=12)
    counted, said = Counted(), list[str]()
    again = replace(context, checkpoints=tmp_path / "checkpoints", say=said.append, progress=counted)
    expected = evaluate.run(config, again)
    (tmp_path / "checkpoints" / "step-000003" / "state.pt").write_bytes(b"half")
    counted.batches.clear()
    assert evaluate.run(config, again).metrics == expected.metrics
    assert counted.batches == ["policy-2 answers"]
    assert any("step-000003 is damaged" in line for line in said)


def test_two_candidates_of_one_name_are_refused(context: Context, policies: list[Path]) -> None:
    twice = [Artifact("sft", "policy", folder) for folder in policies]
    config = evaluate.Config(candidates=("sft",), data="rows", max_new_tokens=2)
    with pytest.raises(DataError, match="two candidates are called 'sft'"):
        evaluate.run(config, replace(context, inputs={**context.inputs, "candidates": twice}))


def test_chain_of_stages_can_be_judged(model: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    sft.run(
        sft.Config(data="rows", max_steps=2, eval_prompts=0),
        make_context(tmp_path / "sft", model, policy="base", data=rows["instructions"]),
    )
    rm.run(
        rm.Config(data="rows", max_steps=2, normalize_prompts=4, max_new_tokens=4),
        make_context(tmp_path / "rm", model, policy=tmp_path / "sft", data=rows["comparisons"]),
    )
    made = make_context(tmp_path / "out", model, candidates=["base", tmp_path / "sft"], reward=tmp_path / "rm",
                        data=rows["instructions"])  # fmt: skip
    result = evaluate.run(evaluate.Config(candidates=("base",), data="rows", max_new_tokens=4), made)
    assert {"base/proxy_score", "sft/proxy_score", "sft/length"} <= result.metrics.keys()
