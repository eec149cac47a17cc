"""collect on the tiny model: what is asked, what is chosen, what a stop changes; the whole way to a reward model."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from tiny_run import make_context, publish_scorer
from toy_project import Project

from pipeline.contract import Context, DataSource, ModelConfig, Result, Source
from pipeline.errors import DataError, Interrupted
from stages import collect
from stages.annotation.batch import read_batch
from stages.modeling.chat import Chat

SMALL = {"policies": ["base", "other"], "data": "rows", "annotators": ("ann", "bo"), "max_new_tokens": 12,
         "batch_size": 4}  # fmt: skip


@pytest.fixture
def inputs(rows: dict[str, Path]) -> dict[str, Any]:
    return {"policies": ["base", "base"], "data": rows["prompts"]}


def run(context: Context, **changes: Any) -> Result:
    return collect.run(collect.Config(**{**SMALL, **changes}), context)


def prepared(output: Path, model: ModelConfig, inputs: dict[str, Any], **how: Any) -> Context:
    context = make_context(output, model, **how, **inputs)
    for number, artifact in enumerate(context.inputs["policies"]):
        object.__setattr__(artifact, "name", ("base", "other")[number])
    return context


def test_every_prompt_with_different_answers_becomes_a_task(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    result = run(prepared(tmp_path / "out", talker, inputs))
    batch = read_batch(tmp_path / "out")
    asked = {task.messages[0]["content"] for task in batch.tasks}
    assert asked <= {f"question {i}" for i in range(12)}
    assert len(asked) == result.metrics["collect/num_tasks"] == 12 - result.metrics["collect/num_left_out"] > 8
    for task in batch.tasks:
        texts = [completion.text for completion in task.completions]
        assert 2 <= len(set(texts)) == len(texts) <= 4


def test_key_knows_every_origin_of_a_text_that_two_policies_gave(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    run(prepared(tmp_path / "out", talker, inputs), num_samples_per_prompt=4, num_completions=8)
    batch = read_batch(tmp_path / "out")
    merged = [entry for line in batch.key.values() for entry in line["completions"].values() if entry["duplicate_of"]]
    assert merged  # eight short answers of one model repeat
    assert {entry["policy"] for entry in merged} <= {"base", "other"}
    assert all(set(task.ids) <= set(batch.key[task.task_id]["completions"]) for task in batch.tasks)


@pytest.mark.parametrize("stop", [1, 4])
def test_stopped_and_resumed_run_publishes_the_same_bytes(
    talker: ModelConfig, inputs: dict[str, Any], tmp_path: Path, stop: int
) -> None:
    run(prepared(tmp_path / "whole/out", talker, inputs))
    with pytest.raises(Interrupted):
        run(prepared(tmp_path / "parts/out", talker, inputs, keep=True, stop=stop))
    run(prepared(tmp_path / "parts/out", talker, inputs, keep=True))
    for name in ("batch.json", "tasks.jsonl", "assign.jsonl", "key.jsonl"):
        assert (tmp_path / "whole/out" / name).read_bytes() == (tmp_path / "parts/out" / name).read_bytes()


def test_gap_shows_the_two_answers_furthest_apart(
    talker: ModelConfig, chat: Chat, inputs: dict[str, Any], tmp_path: Path
) -> None:
    reward = publish_scorer(talker, chat, tmp_path / "rm")
    run(prepared(tmp_path / "out", talker, {**inputs, "reward": reward}), select="gap", reward="rm", num_tasks=6)
    batch = read_batch(tmp_path / "out")
    chosen = [line["chosen"] for line in batch.key.values()]
    assert [len(task.completions) for task, one in zip(batch.tasks, chosen, strict=True) if one["by"] == "gap"] == [
        2
    ] * 4
    assert [one["by"] for one in chosen].count("random") == 2  # a fifth of six, and never none
    assert min(one["score"] for one in chosen) > 0


def test_what_people_differ_on_is_asked_again(model: ModelConfig, tmp_path: Path) -> None:
    ranked = tmp_path / "ranked.jsonl"
    orders = [[1, 2], [2, 1]], [[1, 2], [1, 2]], [[1, 2], [2, 1]]
    rows = [
        {"prompt": f"ask {i}", "completions": ["x", "y"],
         "rankings": [{"annotator": name, "ranks": ranks} for name, ranks in zip("ab", given, strict=True)]}
        for i, given in enumerate(orders)
    ]  # fmt: skip
    ranked.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    context = make_context(tmp_path / "out", model)
    context.data = {"earlier": [Source("earlier", DataSource(path=str(ranked)))]}
    run(context, policies=None, data=None, earlier="earlier", select="disagreement", annotators=("cy",))
    batch = read_batch(tmp_path / "out")
    asked = {task.messages[0]["content"]: batch.key[task.task_id]["chosen"]["by"] for task in batch.tasks}
    assert {"ask 0", "ask 2"} <= set(asked)
    assert asked.get("ask 1") in (None, "random")


def test_no_task_is_an_error_that_says_what_to_raise(
    model: ModelConfig, inputs: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="none of 12 prompts gives a task: two different completions") as caught:
        run(prepared(tmp_path / "out", model, inputs), max_new_tokens=1)
    assert "raise max_new_tokens" in caught.value.remedy


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"annotators": ("ann", "Ann")}, "two annotators have one name"),
        ({"annotators": ("../ann",)}, "may hold letters"),
        ({"select": "gap"}, "gap and reward go together"),
        ({"select": "disagreement"}, "disagreement and earlier go together"),
        ({"policies": None}, "policies is needed"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        collect.Config(**{**SMALL, **changes})


RECIPE = """\
name: people
seed: 3
model: {{model_name_or_path: {model}, dtype: float32, lora: {{r: 2, alpha: 4}}}}
heldout_fraction: 0.4
data:
  prompts: {{path: prompts.jsonl}}
  collected: {{from: collect}}
stages:
  collect: {{policies: base, data: prompts, annotators: [ann, bo], max_new_tokens: 12, num_samples_per_prompt: 4}}
  rm: {{policy: base, data: collected, max_steps: 2, normalize_prompts: 2, max_new_tokens: 8}}
"""


def test_rankings_of_people_become_a_reward_model(talker: ModelConfig, rows: dict[str, Path], project: Project) -> None:
    """From a policy to a reward model by the commands alone: the answers are ranked by their length, in a CSV file."""
    (project.root / "prompts.jsonl").write_bytes(rows["prompts"].read_bytes())
    project.write(RECIPE.format(model=talker.model_name_or_path), "people.yaml")
    asked = project.command("run", "people.yaml")
    assert asked.returncode == 3, asked.stdout + asked.stderr
    assert project.command("collect", "export", "people.yaml", "--to", "csv").returncode == 0
    (tasks,) = (project.root / "runs/people/collect").glob("*/output/tasks.jsonl")
    for file in sorted((project.root / "runs/people/annotation").glob("*/export/csv/*.csv")):
        taken = project.command("collect", "import", "people.yaml", str(ranked_by_length(file, tasks)))
        assert taken.returncode == 0, taken.stdout + taken.stderr
    ended = project.command("run", "people.yaml")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (made,) = (project.root / "runs/people/annotation").glob("*/comparisons.jsonl")
    for row in map(json.loads, made.read_text("utf-8").splitlines()):
        lengths = [len(text) for text in row["completions"]]
        assert {r["annotator"] for r in row["rankings"]} == {"ann", "bo"}
        assert all(r["ranks"] == [1 + sorted(set(lengths)).index(n) for n in lengths] for r in row["rankings"])
    assert "agree" in project.command("collect", "agreement", "people.yaml").stdout
    said = project.command("collect", "status", "people.yaml").stdout
    assert "every task" in said and "the run can go on: posttune run people.yaml" in said


def ranked_by_length(file: Path, tasks: Path) -> Path:
    """The file filled in: the shortest answer is the best."""
    lengths = [{c["id"]: len(c["text"]) for c in json.loads(line)["completions"]} for line in tasks.open("rb")]
    ranks = {name: 1 + sorted(set(own.values())).index(length) for own in lengths for name, length in own.items()}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        head, *lines = list(csv.reader(stream))
    for line in lines:
        line[head.index("rank")] = str(ranks[line[head.index("completion_id")]])
    back = file.with_name(f"back-{file.name}")
    with back.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([head, *lines])
    return back
