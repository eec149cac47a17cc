"""evaluate's report on the tiny model: what it says can be worked out again from the answers that it saved."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from fake_openai import Answer, said, serving
from tiny_run import Log, make_context, titled, write_rows

from pipeline.contract import (
    Artifact,
    Context,
    DataSource,
    ModelConfig,
    Plot,
    Result,
    Samples,
    Source,
    Table,
    TaskConfig,
    Verdict,
)
from pipeline.errors import DataError, RecipeError
from stages import evaluate
from stages.evaluate.answers import heldout_questions
from stages.evaluate.asking.candidates import candidates
from stages.evaluate.foretold import JUDGED
from stages.evaluate.measuring.measuring import figures_to_come
from stages.modeling.chat import load_chat

TASK = TaskConfig(label_set=("yes", "no"), checks=("rouge",))
FIELDS = TaskConfig(labels={"kind": ("a", "b")}, checks=("fields",))


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def context(model: ModelConfig, policies: list[Path], rows: dict[str, Path], tmp_path: Path, log: Log) -> Context:
    asked = [
        {"prompt": [{"role": "user", "content": f"question {i}"}], "reference": ("yes", "no")[i % 2]} for i in range(12)
    ]
    file = write_rows(tmp_path / "asked.jsonl", asked)
    made = make_context(tmp_path / "out", model, log, candidates=["base", *policies], data=file)
    sources = {
        "data": [Source("asked", DataSource(path=str(file), split="all"), TASK)],
        "general": [Source("talk", DataSource(path=str(rows["instructions"]), split="all"))],
    }
    return replace(made, data=sources)


def run(context: Context, **changes: Any) -> tuple[Result, list[dict[str, Any]]]:
    """The result, and the saved answers."""
    names = tuple(policy.name for policy in context.inputs["candidates"])
    config = evaluate.Config(candidates=names, data="asked", **{"max_new_tokens": 5, **changes})
    result = evaluate.run(config, context)
    return result, [json.loads(line) for line in (context.output / "answers.jsonl").open(encoding="utf-8")]


def plain(context: Context) -> Context:
    """Without `general`."""
    return replace(context, data={"data": context.data["data"]})


def column(table: Table, name: str) -> dict[str, Any]:
    place = list(table.columns).index(name)
    return {str(row[0]): row[place] for row in table.rows}


def test_every_figure_of_the_table_is_the_mean_of_the_saved_answers(context: Context) -> None:
    result, saved = run(plain(context), baselines={"prompt": {"system": "Say yes or no."}})
    table = titled(result, "Candidates on held-out prompts")
    for name in ("base", "policy-1", "policy-2", "base + prompt"):
        shown = column(table, name)
        answers = [row["answers"][name] for row in saved]
        for figure in answers[0]["figures"]:
            mean = fmean(answer["figures"][figure] for answer in answers)
            assert str(shown[figure]).split()[0] == f"{mean:.3g}"
        in_set = fmean(answer["text"].strip().casefold() in ("yes", "no") for answer in answers)
        assert str(shown["in_label_set"]).split()[0] == f"{in_set:.3g}"


def test_verdict_stands_first_and_its_figure_is_the_tables(context: Context) -> None:
    result, saved = run(plain(context), primary="rouge")
    first = result.fragments[0]
    assert isinstance(first, Verdict) and len(first.sentences) == 4
    assert first.sentences[3].startswith("Most answers of policy-1, policy-2 were cut off at 5 tokens")
    mean = fmean(row["answers"]["base"]["figures"]["rouge"] for row in saved)
    assert "rouge" in first.sentences[0] and f"{mean:.3g}" in first.sentences[0]
    assert list(result.summary[:4]) == list(first.sentences)


def test_figure_that_decides_is_the_first_metric_of_every_candidate(context: Context) -> None:
    result, saved = run(plain(context), primary="rouge")
    assert list(result.metrics)[:3] == ["base/rouge", "policy-1/rouge", "policy-2/rouge"]
    mean = fmean(row["answers"]["policy-1"]["figures"]["rouge"] for row in saved)
    assert result.metrics["policy-1/rouge"] == pytest.approx(mean)
    assert {"base/length", "policy-2/in_label_set"} <= set(result.metrics)


def test_answers_are_shown_with_the_figure_that_decides_and_where_all_are(context: Context, reward: Path) -> None:
    inputs = {**context.inputs, "reward": [Artifact("rm", "reward", reward)]}
    result, saved = run(plain(replace(context, inputs=inputs)), primary="rouge", num_shown=5)
    (shown,) = [f for f in result.fragments if isinstance(f, Samples)]
    assert shown.note.startswith("5 of 12 held-out prompts") and "answers.jsonl" in shown.note and "rouge" in shown.note
    for row, own in zip(shown.rows, saved, strict=False):
        assert list(row["figures"]) == ["rouge", "proxy score"]
        for figure, values in row["figures"].items():
            assert values == [own["answers"][name]["figures"][figure] for name in shown.candidates]


def test_win_rate_that_decides_is_shown_under_every_answer_but_the_firsts(context: Context) -> None:
    with serving(lambda body: said("A")) as server:
        judge = {"base_url": server.base_url, "model": "m", "max_retries": 0}
        result, saved = run(plain(context), judge=judge, primary=JUDGED)
    (shown,) = [f for f in result.fragments if isinstance(f, Samples)]
    others = [saved[0]["answers"][name]["figures"][JUDGED] for name in ("policy-1", "policy-2")]
    assert shown.rows[0]["figures"] == {JUDGED: [None, *others]}


def test_costs_are_counted_from_the_answers_and_priced_by_the_recipe(context: Context) -> None:
    trained = [replace(policy, seconds=3600.0 if policy.path else None) for policy in context.inputs["candidates"]]
    context = plain(replace(context, inputs={**context.inputs, "candidates": trained}))
    prices = {"default": {"prompt_tokens": 1000.0, "new_tokens": 2000.0}, "policy-1": {"hour": 36.0}}
    result, saved = run(context, prices=prices, baselines={"long": {"system": "Be kind. " * 9}})
    table = titled(result, "What a call costs")
    for name in ("base", "base + long"):
        answers = [row["answers"][name] for row in saved]
        prompt, new = (fmean(answer[count] for answer in answers) for count in ("num_prompt_tokens", "num_new_tokens"))
        assert column(table, "prompt tokens")[name] == f"{prompt:.1f}"
        assert float(column(table, "price of 1,000 calls")[name]) == pytest.approx(prompt + 2 * new, rel=1e-3)
    assert column(table, "price of training")["policy-1"] == "36"
    assert column(table, "price of training")["base"] is None
    (plot,) = [f for f in result.fragments if isinstance(f, Plot)]
    assert [point.name for point in plot.points] == ["base", "policy-1", "policy-2", "base + long"]


def test_labels_get_macro_f1_and_a_confusion_of_the_last_policy(context: Context) -> None:
    result, saved = run(plain(context))
    given = [row["answers"]["policy-2"]["text"].strip(" .\"'`*\n\t").casefold() for row in saved]
    wanted = [row["reference"] for row in saved]
    f1 = []
    for label in ("yes", "no"):
        hits = sum(g == w == label for g, w in zip(given, wanted, strict=True))
        f1.append(2 * hits / (given.count(label) + wanted.count(label)))
    assert result.metrics["policy-2/macro_f1"] == pytest.approx(fmean(f1))
    table = titled(result, "Macro F1")
    change = float(str(column(table, "policy-2")["the answer, less base's"]).split()[0])
    found = result.metrics["policy-2/macro_f1"] - result.metrics["base/macro_f1"]
    assert change == pytest.approx(found, rel=5e-3) and column(table, "base")["the answer, less base's"] is None
    confused = titled(result, "What policy-2 takes for what: the answer")
    assert sum(sum(row[1:]) for row in confused.rows) == 12  # type: ignore[arg-type]


def test_single_fields_have_a_table_of_their_own(context: Context, tmp_path: Path) -> None:
    rows = [{"prompt": f"say {i}", "reference": {"kind": "a", "size": i}} for i in range(4)]
    file = write_rows(tmp_path / "fields.jsonl", rows)
    source = Source("asked", DataSource(path=str(file), split="all"), FIELDS)
    result, _ = run(replace(context, data={"data": [source]}))
    whole, parts = titled(result, "Candidates on held-out prompts"), titled(result, "Fields of the answers")
    assert {"field_accuracy", "label_accuracy"} <= set(column(whole, "base"))
    assert set(column(parts, "base")) == {"field/kind", "field/size"}


def test_a_task_that_does_not_fit_the_data_is_said_and_shown(context: Context, log: Log, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "bare.jsonl", [{"prompt": f"say {i}"} for i in range(4)])
    source = Source("asked", DataSource(path=str(file), split="all"), TaskConfig(checks=("number",)))
    result, _ = run(replace(context, data={"data": [source]}))
    assert any("'number' needs" in line for line in log.said)
    assert "'number' needs" in titled(result, "Candidates on held-out prompts").note


def test_what_tuning_broke_is_in_the_verdict_and_the_metrics(context: Context) -> None:
    result, _ = run(context, general="talk")
    assert {"base/general_perplexity/talk", "policy-1/general_perplexity/talk"} <= set(result.metrics)
    rose = result.metrics["policy-1/general_perplexity/talk"] / result.metrics["base/general_perplexity/talk"]
    (verdict,) = [f for f in result.fragments if isinstance(f, Verdict)]
    warned = [sentence for sentence in verdict.sentences if "perplexity" in sentence and "policy-1" in sentence]
    assert bool(warned) == (rose > 1.1)


def test_judge_gives_points_against_the_first(context: Context) -> None:
    def longest(body: dict[str, Any]) -> Answer:
        text = body["messages"][-1]["content"]
        first, second = (text.split(f"<answer_{x}")[-1].split(f"</answer_{x}")[0] for x in "AB")
        return said("A" if len(first) > len(second) else "B" if len(second) > len(first) else "tie")

    with serving(longest) as server:
        judge = {"base_url": server.base_url, "model": "m", "max_retries": 0}
        result, saved = run(plain(context), judge=judge)
    for row in saved:
        base, other = (row["answers"][name] for name in ("base", "policy-1"))
        longer = len(other["text"]) - len(base["text"])
        assert other["figures"][JUDGED] == (1.0 if longer > 0 else 0.0 if longer < 0 else 0.5)
    assert titled(result, "LLM judge: how far to trust it").rows


def test_judge_that_cannot_be_reached_costs_its_own_figures_only(context: Context, log: Log) -> None:
    judge = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}
    result, saved = run(plain(context), judge=judge)
    assert sum("the LLM judge is left out" in line for line in log.said) == 1
    assert all(JUDGED not in row["answers"]["policy-1"]["figures"] for row in saved)
    assert titled(result, "Candidates on held-out prompts").rows
    assert any("the LLM judge is left out" in line and "--force evaluate" in line for line in result.summary)


def test_mistyped_primary_is_refused_before_anybody_is_asked(context: Context, log: Log) -> None:
    for wanted in ("label_acuracy", "win rate under the LLM judge", "proxy score", "length"):
        with pytest.raises(RecipeError) as caught:
            run(plain(context), primary=wanted)
        assert caught.value.where == "evaluate.primary"
    assert not (context.output / "answers.jsonl").exists() and log.said == []


def test_every_figure_is_foretold(context: Context, reward: Path) -> None:
    """The saved answers name each figure that was found: all that a verdict may be about, no more and no less."""
    more = {"reward": [Artifact("rm", "reward", reward)], "reference": [context.inputs["candidates"][1]]}
    context = plain(replace(context, inputs={**context.inputs, **more}))
    config = evaluate.Config(candidates=("base",), data="asked")
    questions = heldout_questions(context.data["data"], load_chat(context.model), None, 1)
    foretold = figures_to_come(config, context, candidates(config, context), questions)
    _, saved = run(context)
    assert set(foretold) == {name for own in saved[0]["answers"].values() for name in own["figures"]}


def test_verdict_on_a_judge_that_cannot_be_reached_keeps_the_rest(context: Context) -> None:
    judge = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0}
    result, _ = run(context, judge=judge, primary=JUDGED, general="talk")
    (verdict,) = [f for f in result.fragments if isinstance(f, Verdict)]
    assert f"Nobody has the figure that decides, '{JUDGED}'" in verdict.sentences[0]
    assert titled(result, "LLM judge").rows and titled(result, "What a call costs").rows


def test_general_rows_that_cannot_be_read_are_refused_before_anybody_is_asked(context: Context, tmp_path: Path) -> None:
    long = [{"role": "user", "content": "word " * 2000}, {"role": "assistant", "content": "yes"}]
    file = write_rows(tmp_path / "long.jsonl", [{"messages": long}])
    sources = {**context.data, "general": [Source("talk", DataSource(path=str(file), split="all"))]}
    with pytest.raises(DataError, match="none of 1 rows has at most 1024 tokens"):
        run(replace(context, data=sources), general="talk")
    assert not (context.output / "answers.jsonl").exists()


def test_names_that_differ_by_a_dot_are_two_candidates(context: Context) -> None:
    _, *policies = context.inputs["candidates"]
    named = [replace(policy, name=name) for policy, name in zip(policies, ("sft.1", "sft_1"), strict=True)]
    _, saved = run(plain(replace(context, inputs={**context.inputs, "candidates": named})))
    _, before = run(plain(replace(context, inputs={**context.inputs, "candidates": policies})))
    for row, own in zip(saved, before, strict=True):
        assert row["answers"]["sft.1"]["text"] == own["answers"]["policy-1"]["text"]
        assert row["answers"]["sft_1"]["text"] == own["answers"]["policy-2"]["text"]
    assert any(row["answers"]["sft.1"]["text"] != row["answers"]["sft_1"]["text"] for row in saved)


def test_no_tuned_candidate_is_asked_about_when_there_is_none(context: Context) -> None:
    alone = {**context.inputs, "candidates": [Artifact("base", "policy")]}
    result, _ = run(plain(replace(context, inputs=alone)))
    (verdict,) = [f for f in result.fragments if isinstance(f, Verdict)]
    assert "no tuned model is among the candidates" in verdict.sentences[1]


def test_a_kl_of_nothing_has_no_width(context: Context) -> None:
    """All zeros are no share of right answers, whose interval would reach above 0."""
    reference = {**context.inputs, "reference": [context.inputs["candidates"][1]]}
    result, _ = run(plain(replace(context, inputs=reference)), reference="policy-1")
    assert column(titled(result, "Candidates on held-out prompts"), "policy-1")["KL to policy-1"] == "0 [0, 0]"


def test_policies_of_one_build_asked_alike_are_timed_once(context: Context) -> None:
    result, _ = run(plain(context))
    seconds = column(titled(result, "What a call costs"), "seconds to the first token")
    assert seconds["policy-1"] == seconds["policy-2"]
