"""evaluate with baselines on the tiny model: each asked in its way, judged by the same words, from one load."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import transformers
from tiny_run import make_context, titled, write_rows

from pipeline.contract import Artifact, Context, DataSource, ModelConfig, Samples, Source
from pipeline.errors import ModelError
from stages import evaluate
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.rollout.generate import generate
from stages.rollout.score import all_scores
from stages.rollout.sequences import Sequences

MAIN = "Candidates on held-out prompts"
SHOTS = {"num_examples": 2, "pick": "random"}
FOUND = {"num_passages": 1}


@pytest.fixture
def context(model: ModelConfig, policies: list[Path], reward: Path, rows: dict[str, Path], tmp_path: Path) -> Context:
    made = make_context(tmp_path / "out", model, candidates=["base", *policies], reward=reward, reference=policies[0],
                        data=rows["prompts"])  # fmt: skip
    documents = [{"text": f"Of question {i} it is known that it is number {i}."} for i in range(12)]
    others = [
        {"messages": [{"role": "user", "content": f"other {i}"}, {"role": "assistant", "content": f"answer {i}"}]}
        for i in range(9)
    ]
    sources = {
        "data": rows["prompts"],
        "examples": write_rows(tmp_path / "examples.jsonl", others),
        "documents": write_rows(tmp_path / "documents.jsonl", documents),
    }
    data = {
        name: [Source(name, DataSource(path=str(path), split="train" if name == "examples" else "all"))]
        for name, path in sources.items()
    }
    return replace(made, data=data)


def run(context: Context, baselines: dict[str, Any], **changes: Any) -> tuple[Any, list[dict[str, Any]]]:
    """The result, and the rows of the saved answers."""
    names = tuple(policy.name for policy in context.inputs["candidates"])
    given = {"candidates": names, "baselines": baselines, "examples": "examples", "documents": "documents"}
    config = evaluate.Config(data="rows", **{"max_new_tokens": 5, "batch_size": 5, **given, **changes})
    result = evaluate.run(config, context)
    return result, [json.loads(line) for line in (context.output / "answers.jsonl").open()]


def test_five_candidates_that_share_a_base_load_it_once(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    real = transformers.AutoModelForCausalLM.from_pretrained

    def counted(path: Any, *args: Any, **kwargs: Any) -> Any:
        loads.append(str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", counted)
    ways = {"shots": {**SHOTS, "policies": ["base", "policy-1"]}}
    result, _ = run(context, ways)
    assert titled(result, MAIN).columns[1:] == ["base", "policy-1", "policy-2", "base + shots", "policy-1 + shots"]
    assert loads == [context.model.model_name_or_path]


def test_plain_answers_do_not_change_when_baselines_are_added(context: Context) -> None:
    alone, together = run(context, {})[1], run(context, {"shots": SHOTS, "found": FOUND})[1]
    for name in ("base", "policy-1", "policy-2"):
        assert [row["answers"][name] for row in alone] == [row["answers"][name] for row in together]


def test_prompt_tokens_are_those_of_the_conversation_that_was_sent(context: Context, chat: Chat) -> None:
    _, rows = run(context, {"prompt": {"system": "Be kind."}, "found": FOUND})
    for row in rows:
        (asked,) = row["prompt"]
        passage = f"Of {asked['content']} it is known that it is number {asked['content'].split()[1]}."
        sent = {
            "base": [asked],
            "base + prompt": [{"role": "system", "content": "Be kind."}, asked],
            "base + found": [{"role": "user", "content": f"{passage}\n\n{asked['content']}"}],
        }
        for name, talk in sent.items():
            assert row["answers"][name]["num_prompt_tokens"] == len(chat.prompt_ids(talk))
            assert 1 <= row["answers"][name]["num_new_tokens"] <= 5


def test_answer_follows_the_conversation_and_is_scored_behind_the_plain_prompt(
    context: Context, chat: Chat, reward: Path
) -> None:
    result, rows = run(context, {"prompt": {"system": "Be kind.", "policies": "policy-1"}})
    backbone, head = open_backbone(context.model), ScalarHead.load(reward, 40)
    backbone.load("reward", Artifact("rm", "reward", reward))
    backbone.load("p", context.inputs["candidates"][1])
    plain = [chat.prompt_ids(row["prompt"]) for row in rows]
    sent = [chat.prompt_ids([{"role": "system", "content": "Be kind."}, *row["prompt"]]) for row in rows]
    answers = generate(backbone, "p", chat, sent, max_new_tokens=5, temperature=0.0, seed=1, purpose="x")
    own = [row["answers"]["policy-1 + prompt"] for row in rows]
    assert [one["text"] for one in own] == [chat.decode(c.ids) for c in answers]
    scores = all_scores(backbone, "reward", head, Sequences(plain, [c.ids for c in answers]))
    assert [one["figures"]["proxy score"] for one in own] == pytest.approx(scores.tolist(), abs=1e-5)
    assert result.metrics["policy-1+prompt/proxy_score"] == pytest.approx(float(scores.mean()), abs=1e-5)


def test_kl_is_measured_of_plain_candidates_alone(context: Context) -> None:
    result, rows = run(context, {"prompt": {"system": "Be kind."}})
    measured = {name for name, own in rows[0]["answers"].items() if "KL to policy-1" in own["figures"]}
    assert measured == {"base", "policy-1", "policy-2"}
    differences = titled(result, "Difference from base")
    (line,) = [row for row in differences.rows if row[0] == "KL to policy-1"]
    assert line[differences.columns.index("base + prompt")] is None and line[1] is not None


def test_best_of_gives_the_drawn_answer_with_the_highest_score(context: Context, chat: Chat, reward: Path) -> None:
    _, rows = run(context, {"best": {"best_of": 3}})
    backbone, head = open_backbone(context.model), ScalarHead.load(reward, 40)
    backbone.load("reward", Artifact("rm", "reward", reward))
    backbone.load("p", Artifact("base", "policy"))
    prompts = [chat.prompt_ids(row["prompt"]) for row in rows for _ in range(3)]
    drawn = generate(backbone, "p", chat, prompts, max_new_tokens=5, temperature=1.0, seed=17, purpose="best of 3")
    scores = all_scores(backbone, "reward", head, Sequences(prompts, [c.ids for c in drawn])).tolist()
    changed = 0
    for i, row in enumerate(rows):
        own, three = row["answers"]["base + best"], scores[3 * i : 3 * i + 3]
        assert own["figures"]["proxy score"] == pytest.approx(max(three), abs=1e-5)
        assert own["text"] == chat.decode(drawn[3 * i + three.index(max(three))].ids)
        assert own["num_new_tokens"] == sum(len(c.ids) for c in drawn[3 * i : 3 * i + 3])
        changed += three[0] != max(three)
    assert changed, "the first answer was always the best: nothing was picked"


def test_prompt_beyond_the_models_context_is_an_error_that_names_it(context: Context) -> None:
    with pytest.raises(
        ModelError, match=r"'base \+ prompt' is asked '.+' with \d+ tokens; .* context of 512"
    ) as caught:
        run(context, {"prompt": {"system": "Be kind. " * 200}})
    assert "num_examples" in caught.value.remedy
    with pytest.raises(ModelError, match=r"'base' is asked .* with max_new_tokens 600") as caught:
        run(context, {}, max_new_tokens=600)
    assert caught.value.where == "evaluate.data"


def test_baselines_stand_in_the_samples_too(context: Context) -> None:
    result, _ = run(context, {"found": FOUND})
    (samples,) = [one for one in result.fragments if isinstance(one, Samples)]
    assert samples.candidates == ["base", "policy-1", "policy-2", "base + found"]
    assert all(len(row["answers"]) == 4 and row["prompt"].startswith("user: question") for row in samples.rows)
