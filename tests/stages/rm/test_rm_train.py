"""rm on the tiny model: how pairs weigh, what it learns, what it saves, and that a stop changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ranked_items import of_ranks, ranked
from safetensors.torch import load_file
from tiny_run import Log, full_model, lora_model, make_context, same_weights, write_rows
from torch import Tensor
from transformers import AutoModelForCausalLM

from pipeline.content import ContentCache
from pipeline.contract import Artifact, ModelConfig, Result
from pipeline.errors import DataError, Interrupted, ModelError
from pipeline.fingerprint import fingerprint, material
from pipeline.recipe import load_recipe
from stages import rm
from stages.checkpoint.streams import permutation
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.rm.data import Ranked
from stages.rm.losses import LOSSES, loss_of
from stages.rm.train import _backward
from stages.rollout.generate import generate
from stages.rollout.score import all_scores
from stages.rollout.sequences import Sequences

PARTS = [
    ranked([5], [[6, 2], [7, 2]], (1, 2)),
    ranked([8], [[9, 2], [10, 11, 2], [12, 2]], (1, 2, 3)),
    ranked([13], [[14, 2], [15, 16, 17, 2]], (2, 1)),
    ranked([5], [[18, 2], [19, 2], [20, 2]], (2, 2, 1)),
]


def run(output: Path, model: ModelConfig, rows: dict[str, Path], log: Log | None = None, *, policy: Path | str = "base",
        keep: bool = False, stop: int = 0, **changes: Any) -> Result:  # fmt: skip
    config = rm.Config(**{"data": "rows", "max_steps": 3, "normalize_prompts": 0, "max_length": 96, **changes})
    return rm.run(
        config, make_context(output, model, log, keep=keep, stop=stop, policy=policy, data=rows["comparisons"])
    )


@pytest.fixture
def trunk(backbone: Backbone, policies: list[Path]) -> tuple[Backbone, ScalarHead]:
    backbone.load("reward", Artifact("p", "policy", policies[0]), trainable=True)
    return backbone, ScalarHead(backbone.hidden_size).initialise(torch.Generator().manual_seed(1))


def gradients(
    trunk: tuple[Backbone, ScalarHead], cut: list[list[Ranked]], **settings: Any
) -> tuple[Tensor, dict[str, float]]:
    backbone, head = trunk
    parameters = [*backbone.parameters("reward").values(), head.weight]
    for parameter in parameters:
        parameter.grad = None
    config = rm.Config(data="rows", center_rewards_coefficient=0.1, **settings)
    cut, total = [[loss_of(config).reads(item) for item in part] for part in cut], sum(len(part) for part in cut)
    found = [_backward(config, backbone, head, part, total) for part in cut]
    figures = {name: sum(own[name] for own in found) for name in found[0]}
    return torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]), figures


@pytest.mark.parametrize("cut", [[PARTS[:1], PARTS[1:3]], [[part] for part in PARTS[:3]]])
@pytest.mark.parametrize(("loss_type", "ties"), LOSSES)
def test_gradient_is_the_same_however_the_prompts_are_cut(
    trunk: tuple[Backbone, ScalarHead], cut: list[list[Ranked]], loss_type: str, ties: str
) -> None:
    tied = [] if loss_type == "plackett_luce" else [PARTS[3:]]  # which cannot read it
    settings: dict[str, Any] = {"loss_type": loss_type, "ties": ties, "theta": 2 if ties == "rao_kupper" else None}
    whole, figures = gradients(trunk, [[part for parts in cut + tied for part in parts]], **settings)
    found, same = gradients(trunk, cut + tied, **settings)
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=1e-4)
    assert same == pytest.approx(figures, abs=1e-5)


def test_each_prompt_weighs_the_same_when_one_has_more_pairs(trunk: tuple[Backbone, ScalarHead]) -> None:
    whole, _ = gradients(trunk, [PARTS])
    alone = [gradients(trunk, [[part]])[0] for part in PARTS]
    torch.testing.assert_close(whole, torch.stack(alone).mean(0), atol=1e-6, rtol=1e-4)


def test_loss_is_the_mean_of_each_prompts_mean_over_its_pairs(trunk: tuple[Backbone, ScalarHead]) -> None:
    backbone, head = trunk
    losses = []
    for part in PARTS:
        rows = [Sequences([part.prompt], [answer]) for answer in part.completions]
        raw = [float(all_scores(backbone, "reward", head, row)) for row in rows]
        own = [torch.tensor(1 + 2.718281828459045 ** (raw[lost] - raw[won])).log() for won, lost in part.pairs]
        losses.append(sum(own) / len(own))
    assert gradients(trunk, [PARTS])[1]["loss"] == pytest.approx(float(sum(losses) / 4), abs=1e-5)


def test_ties_and_unranked_answers_give_no_pair() -> None:
    item = of_ranks((2, 1, 2), (1, 1, 1), (1, None, 2))
    assert item.pairs == [(1, 0), (1, 2), (0, 2)] and item.ties == []


def test_tie_moves_the_scores_together_and_counts_half(trunk: tuple[Backbone, ScalarHead]) -> None:
    tie = [of_ranks((1, 1))]
    _, figures = gradients(trunk, [tie], ties="soft")
    assert (figures["rewards/accuracies"], figures["rewards/margins"]) == (0.5, 0)
    head = trunk[1].weight.grad
    rows = Sequences([[5], [5]], [[6, 2], [7, 2]])
    before = all_scores(trunk[0], "reward", trunk[1], rows)
    with torch.no_grad():
        trunk[1].weight -= 1e-2 * head
    after = all_scores(trunk[0], "reward", trunk[1], rows)
    assert (after[0] - after[1]).abs() < (before[0] - before[1]).abs()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "1 comparisons, 2 pairs, * left out: 3 without an order, 0 longer than max_length, 1 tied pairs"),
        ({"ties": "soft"}, "4 comparisons, 2 pairs, * left out: 0 without an order, 0 longer than max_length"),
        ({"loss_type": "plackett_luce"}, None),
    ],
)
def test_what_ties_leave_out_is_said(
    model: ModelConfig, tmp_path: Path, settings: dict[str, Any], expected: str | None
) -> None:
    # "question 2", 3, 5, 6 train; 0 is held out
    table = [{"prompt": [{"role": "user", "content": f"question {i}"}], "completions": ["a", "b", "c"],
              "ranks": [1, 2, 2] if i < 3 else [1, 1, 1]} for i in (0, 2, 3, 5, 6)]  # fmt: skip
    files, log = {"comparisons": write_rows(tmp_path / "c.jsonl", table)}, Log()
    if expected is None:
        with pytest.raises(DataError, match="none of 4 train comparisons can be used: 4 have no order"):
            run(tmp_path / "out", model, files, log, **settings)
    else:
        run(tmp_path / "out", model, files, log, max_steps=1, **settings)
        start, end = expected.split("*")
        assert log.said[0].startswith(start) and log.said[0].endswith(end)


def test_tied_and_long_comparisons_are_left_out_and_counted(model: ModelConfig, tmp_path: Path) -> None:
    prompts = [{"role": "user", "content": f"question {i}"} for i in (0, 2, 3, 5, 6)]
    answers = [["a", "b"], ["a", "b"], ["a", "b"], ["a", "w " * 90], ["a", "b"]]
    ranks = [[1, 2], [1, 2], [1, 1], [1, 2], [2, 1]]
    table = [{"prompt": [p], "completions": c, "ranks": r} for p, c, r in zip(prompts, answers, ranks, strict=True)]
    log = Log()
    result = run(tmp_path / "out", model, {"comparisons": write_rows(tmp_path / "c.jsonl", table)}, log)
    assert "2 comparisons, 2 pairs" in log.said[0] and "1 without an order, 1 longer" in log.said[0]
    assert (result.metrics["data/num_pairs"], result.metrics["data/num_left_out"]) == (2, 2)


@pytest.mark.parametrize(
    ("loss_type", "left_out", "ignored"),
    [("soft_bradley_terry", ", 4 rankings of weight 0", False), ("bradley_terry", "longer than max_length", True)],
)
def test_what_becomes_of_the_rankings_weights_is_said(
    model: ModelConfig, tmp_path: Path, loss_type: str, left_out: str, ignored: bool
) -> None:
    people = [{"annotator": "ann", "ranks": [1, 2], "weight": 2}, {"annotator": "ben", "ranks": [2, 1], "weight": 0}]
    table = [{"prompt": [{"role": "user", "content": f"question {i}"}], "completions": ["a", "b"], "rankings": people}
             for i in (0, 2, 3, 5, 6)]  # fmt: skip
    log = Log()
    files = {"comparisons": write_rows(tmp_path / "c.jsonl", table)}
    run(tmp_path / "out", model, files, log, max_steps=1, loss_type=loss_type)
    assert log.said[0].endswith(left_out)
    assert any("does not read the rankings' weights" in line for line in log.said) == ignored


def test_votes_are_learnt_as_weighed_when_a_minority_is_heard_more(
    model: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    """Two annotators rank everything upside down; the third counts five times as much."""
    table = [json.loads(line) for line in rows["comparisons"].read_text("utf-8").splitlines()]
    for row in table:
        ranks = (row.pop("rankings", None) or [row])[0].pop("ranks")
        others = [{"annotator": name, "ranks": [max(ranks) + 1 - r for r in ranks]} for name in ("ben", "cid")]
        row["rankings"] = [{"annotator": "ann", "ranks": ranks, "weight": 5}, *others]
    files = {"comparisons": write_rows(tmp_path / "c.jsonl", table)}
    changes: dict[str, Any] = {"max_steps": 30, "learning_rate": 1e-2, "head_learning_rate": 1e-2}
    accuracy = {
        loss: run(tmp_path / loss, model, files, loss_type=loss, **changes).metrics["heldout/accuracy"]
        for loss in ("soft_bradley_terry", "bradley_terry")
    }  # of three votes a pair, of which one is ann's
    assert accuracy["soft_bradley_terry"] < 0.4 and accuracy["bradley_terry"] > 0.6


def test_comparisons_without_any_order_are_refused(model: ModelConfig, tmp_path: Path) -> None:
    table = [
        {"prompt": [{"role": "user", "content": f"question {i}"}], "completions": ["a", "b"], "ranks": [1, 1]}
        for i in range(5)
    ]
    with pytest.raises(DataError, match="no order"):
        run(tmp_path / "out", model, {"comparisons": write_rows(tmp_path / "c.jsonl", table)})


def test_planted_preference_is_learnt(model: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    log = Log()
    result = run(tmp_path / "out", model, rows, log, max_steps=30, learning_rate=1e-2, head_learning_rate=1e-2)
    assert result.metrics["heldout/accuracy"] > 0.9
    assert result.metrics["heldout/num_pairs"] == 10  # of 7 held-out prompts: 3 have three answers, two of them tied
    assert log.column("loss")[-1] < log.column("loss")[0]


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_saved_model_scores_the_same_in_plain_libraries(
    tiny_model: Path, rows: dict[str, Path], tmp_path: Path, tuning: str
) -> None:
    from peft import PeftModel

    config = lora_model(tiny_model) if tuning == "lora" else full_model(tiny_model)
    run(tmp_path / "out", config, rows, learning_rate=1e-2, normalize_prompts=4, max_new_tokens=4)
    plain: Any = AutoModelForCausalLM.from_pretrained(str(tiny_model if tuning == "lora" else tmp_path / "out"))
    plain = PeftModel.from_pretrained(plain, str(tmp_path / "out")).eval() if tuning == "lora" else plain.eval()
    saved = load_file(tmp_path / "out/head.safetensors")
    with torch.no_grad():
        state = plain(input_ids=torch.tensor([[5, 6, 2]]), output_hidden_states=True).hidden_states[-1][0, -1]
    expected = (state @ saved["weight"] - saved["mean"]) / saved["std"]

    backbone, head = open_backbone(config), ScalarHead.load(tmp_path / "out", 40)
    backbone.load("reward", Artifact("rm", "reward", tmp_path / "out"))
    raw = all_scores(backbone, "reward", head, Sequences([[5]], [[6, 2]]))
    torch.testing.assert_close((raw[0] - head.mean) / head.std, expected, atol=1e-5, rtol=1e-5)


def test_normalised_scores_have_mean_0_and_deviation_1_on_the_sampled_answers(
    model: ModelConfig, chat: Chat, rows: dict[str, Path], policies: list[Path], tmp_path: Path
) -> None:
    log = Log()
    run(tmp_path / "out", model, rows, log, policy=policies[0], normalize_prompts=64, max_new_tokens=5)
    backbone, head = open_backbone(model), ScalarHead.load(tmp_path / "out", 40)
    backbone.load("reward", Artifact("rm", "reward", tmp_path / "out"))
    backbone.load("start", Artifact("p", "policy", policies[0]))
    trained = [i for i in range(16) if i not in (0, 1, 4, 11, 12, 14, 15)]  # the hash holds those out
    order = permutation(9, 17, "rm", "normalize")
    prompts = [chat.prompt_ids([{"role": "user", "content": f"question {trained[i]}"}]) for i in order]
    settings: dict[str, Any] = {"max_new_tokens": 5, "temperature": 1.0, "seed": 17, "purpose": "rm-normalize"}
    note = json.loads((tmp_path / "out/posttune.json").read_text())["normalization"]
    sampled = generate(backbone, "start", chat, prompts, **settings)
    raw = all_scores(backbone, "reward", head, Sequences(prompts, [c.ids for c in sampled]))
    scores = (raw - head.mean) / head.std
    assert (float(scores.mean()), float(scores.std())) == pytest.approx((0, 1), abs=1e-3)
    assert note["num_samples"] == 9
    assert f"standard error {note['std'] / 3:.2g}" in log.said[1]


def test_scale_is_saved_with_a_digest_of_the_prompts_it_was_taken_on(
    model: ModelConfig, rows: dict[str, Path], tmp_path: Path
) -> None:
    notes = []
    for count in (3, 3, 4):
        run(tmp_path / "out", model, rows, max_steps=1, normalize_prompts=count, max_new_tokens=2)
        notes.append(json.loads((tmp_path / "out/posttune.json").read_text())["normalization"])
    assert set(notes[0]) == {"mean", "std", "num_samples", "policy", "prompts"}
    assert notes[0]["prompts"] == notes[1]["prompts"] != notes[2]["prompts"]


def test_members_of_an_ensemble_differ_in_their_seed_and_share_the_prompts_of_their_scale(
    model: ModelConfig, rows: dict[str, Path], policies: list[Path], tmp_path: Path
) -> None:
    same: dict[str, Any] = {"policy": policies[0], "normalize_prompts": 4, "max_new_tokens": 2}
    for name, seed in (("one", None), ("again", 17), ("other", 18)):  # 17 is the recipe's
        run(tmp_path / name, model, rows, seed=seed, **same)
    assert same_weights(tmp_path / "one", tmp_path / "again")
    heads = [load_file(tmp_path / name / "head.safetensors")["weight"] for name in ("one", "other")]
    assert (heads[0] - heads[1]).abs().mean() > 0.01
    assert not same_weights(tmp_path / "one", tmp_path / "other")
    notes = [json.loads((tmp_path / n / "posttune.json").read_text())["normalization"] for n in ("one", "other")]
    assert notes[0]["prompts"] == notes[1]["prompts"]


def test_members_of_an_ensemble_are_artifacts_of_their_own(
    tiny_model: Path, rows: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "recipe.yaml").write_text(f"""
        model: {{model_name_or_path: {tiny_model}, lora: {{r: 4}}}}
        data: {{rows: {{path: {rows["comparisons"]}}}}}
        stages:
          rm: {{data: rows}}
          twin: {{kind: rm, data: rows}}
          member: {{kind: rm, data: rows, seed: 18}}""")
    recipe, cache = load_recipe(tmp_path / "recipe.yaml"), ContentCache(tmp_path / "hashes.json")
    found = {name: fingerprint(material(recipe, stage, {}, cache)) for name, stage in recipe.stages.items()}
    assert found["rm"] == found["twin"] != found["member"]


def test_one_prompt_is_refused_for_the_scale(model: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no deviation"):
        run(tmp_path / "out", model, rows, normalize_prompts=1)


@pytest.mark.parametrize("tuning", ["lora", "full"])
def test_stopped_and_resumed_run_ends_with_the_same_bits(
    tiny_model: Path, rows: dict[str, Path], tmp_path: Path, tuning: str
) -> None:
    config = lora_model(tiny_model) if tuning == "lora" else full_model(tiny_model)
    whole, parts = Log(), Log()
    same: dict[str, Any] = {
        "max_steps": 6,
        "save_steps": 4,
        "learning_rate": 1e-2,
        "normalize_prompts": 4,
        "max_new_tokens": 4,
    }
    expected = run(tmp_path / "whole/out", config, rows, whole, **same)
    for stop in (2, 3):  # after step 2, and after step 5
        with pytest.raises(Interrupted):
            run(tmp_path / "parts/out", config, rows, parts, keep=True, stop=stop, **same)
    found = run(tmp_path / "parts/out", config, rows, parts, keep=True, **same)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert (parts.metrics, found.metrics) == (whole.metrics, expected.metrics)


def test_killed_run_goes_on_from_its_last_checkpoint(model: ModelConfig, rows: dict[str, Path], tmp_path: Path) -> None:
    whole, parts = Log(), Log()
    run(tmp_path / "whole/out", model, rows, whole, max_steps=5)

    class Killed(Exception):
        pass

    def die(step: int, metrics: object) -> None:
        parts.log(step, metrics)  # type: ignore[arg-type]
        if step == 4:
            raise Killed

    config = rm.Config(data="rows", max_steps=5, normalize_prompts=0, max_length=96, save_steps=3)
    context = make_context(tmp_path / "parts/out", model, parts, keep=True, policy="base", data=rows["comparisons"])
    context.log_metrics = die
    with pytest.raises(Killed):
        rm.run(config, context)
    run(tmp_path / "parts/out", model, rows, parts, keep=True, max_steps=5, save_steps=3)
    assert same_weights(tmp_path / "whole/out", tmp_path / "parts/out")
    assert parts.metrics == whole.metrics


def test_reward_model_without_its_head_is_refused(policies: list[Path]) -> None:
    with pytest.raises(ModelError, match="no score head"):
        ScalarHead.load(policies[0], 40)
