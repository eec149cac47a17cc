"""The report card's figures on pairs made by hand, and the pairs as the models see them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from ranked_items import of_ranks, ranked
from transformers import AutoModelForCausalLM

from pipeline.contract import Artifact, Plot, Result, Table
from stages.formats.records import Ranking
from stages.modeling.backbone import Backbone
from stages.modeling.heads import ScalarHead
from stages.rm.answered import Answered
from stages.rm.data import Ranked
from stages.rm.judged import Judged, judge
from stages.rm.report import report_card

ONE = [of_ranks((1, 2))]


def judged(
    scores: list[float], lengths: list[int] | None = None, prompts: list[int] | None = None, longer: int = 10
) -> Judged:
    """Pairs of these score and length differences, each of a prompt of its own; the policy likes neither answer."""
    score_P = torch.tensor(scores, dtype=torch.float64)
    length_P = torch.tensor(lengths or [0] * len(scores))
    prompt_P = torch.tensor(prompts) if prompts else torch.arange(len(scores))
    nothing, longer_P = torch.zeros_like(score_P), torch.full_like(length_P, longer)
    return Judged(score_P, nothing, nothing, length_P, longer_P, prompt_P)


def card(pairs: Judged, items: list[Ranked] = ONE) -> Result:
    nothing = torch.zeros(2, dtype=torch.int64)
    return report_card(pairs, Answered(nothing, nothing, nothing, nothing, nothing), items, "sft")


def table(result: Result, title: str) -> Table:
    (found,) = [own for own in result.fragments if isinstance(own, Table) and own.title == title]
    return found


def test_accuracy_counts_equal_scores_and_equal_lengths_as_half() -> None:
    metrics = card(judged([1.0, -1.0, 0.0, 2.0], [3, 3, 0, -3])).metrics
    assert metrics["heldout/accuracy"] == pytest.approx(2.5 / 4)
    assert metrics["heldout/longer_wins"] == pytest.approx(2.5 / 4)
    assert metrics["heldout/logprob_wins"] == 0.5


def test_likelihood_and_brier_score_match_golden() -> None:
    metrics = card(judged([math.log(3), -math.log(3)])).metrics  # confidence 3/4, right once in two
    assert metrics["heldout/nll"] == pytest.approx((math.log(4 / 3) + math.log(4)) / 2)
    assert metrics["heldout/brier"] == pytest.approx((1 / 16 + 9 / 16) / 2)


def test_pairs_of_one_prompt_are_resampled_together() -> None:
    scores = [1.0, 1.0, 1.0, -1.0] * 10
    apart = card(judged(scores)).metrics
    together = card(judged(scores, prompts=[1] * 36 + [2] * 4)).metrics
    assert together["heldout/accuracy"] == apart["heldout/accuracy"] == 0.75
    assert apart["heldout/accuracy_low"] < 0.7
    assert together["heldout/accuracy_low"] == 0.75  # both prompts have the same share


@pytest.mark.parametrize(
    ("scores", "lengths", "words"),
    [
        ([1.0] * 20, [1, -1] * 10, "longer answer wins' (0.5): the reward model beats it, 0.5 ["),
        ([-1.0] * 20, [1] * 20, "longer answer wins' (1): the reward model does not beat it, -1 [-1, -1]"),
        ([-1.0] * 20, [-1] * 20, "shorter answer wins' (1): the reward model does not beat it, -1 [-1, -1]"),
        ([1.0] * 20, [-1] * 20, "shorter answer wins' (1): the reward model cannot be told apart from it, 0 [0, 0]"),
        (
            [1.0] * 9,
            [-1] * 9,
            "shorter answer wins' (1): the reward model is judged on too few prompts to say, 0 [0, 0]",
        ),
    ],
)
def test_summary_says_whether_the_reward_model_beats_length(
    scores: list[float], lengths: list[int], words: str
) -> None:
    result = card(judged(scores, lengths))
    assert "against 'the " + words in result.summary[1]
    rule = words.split()[0]
    assert result.metrics[f"heldout/over_{rule}_wins"] == pytest.approx(float(words.split(", ")[1].split(" [")[0]))


def test_temperature_is_fitted_on_every_other_prompt_and_judged_on_the_rest() -> None:
    """The first half is right in 3 of 4 where the model says sigmoid(2) = 0.881; the second half is always right."""
    scores = [own for even in [2.0, 2.0, 2.0, -2.0] * 13 for own in (even, 2.0)]
    result = card(judged(scores))
    assert result.metrics["heldout/temperature"] == pytest.approx(2 / math.log(3))
    assert result.metrics["heldout/ece"] == pytest.approx(1 - 1 / (1 + math.exp(-2)))
    assert result.metrics["heldout/ece_calibrated"] == pytest.approx(0.25)
    assert "52 pairs of every other prompt" in table(result, "Calibration").note


@pytest.mark.parametrize(
    ("scores", "words"), [([-1.0] * 120, "winners do not score higher on average"), ([1.0] * 120, "ordered rightly")]
)
def test_no_temperature_is_given_where_none_fits(scores: list[float], words: str) -> None:
    result = card(judged(scores))
    assert words in table(result, "Calibration").note and "heldout/temperature" not in result.metrics
    assert "heldout/ece" in result.metrics


def test_few_pairs_give_words_and_no_figure() -> None:
    result = card(judged([1.0, -1.0] * 49))
    assert "too few: 49 pairs to fit on, 49 to judge by" in str(table(result, "Calibration").rows)
    assert "heldout/ece" not in result.metrics
    assert "too few: 3 pairs of 3 prompts" in str(
        table(card(judged([1.0] * 9)), "Accuracy by how sure the reward model is")
    )


def test_accuracy_by_margin_is_of_thirds_from_unsure_to_sure() -> None:
    scores = [own for size in (0.1, 1.0, 4.0) for own in (size, -size if size == 0.1 else size)] * 10
    rows = table(card(judged(scores)), "Accuracy by how sure the reward model is").rows
    assert [row[0] for row in rows] == ["0.1 to 0.1", "1 to 1", "4 to 4"]
    assert [row[1] for row in rows] == [20, 20, 20]
    assert [row[2] for row in rows] == ["0.525", "0.731", "0.982"]  # sigmoid of each
    assert [str(row[3])[:3] for row in rows] == ["0.5", "1 [", "1 ["]


def test_accuracy_by_length_parts_longer_equal_and_shorter() -> None:
    lengths = [11] * 12 + [10, -10, 0] * 4 + [-11] * 12
    result = card(judged([1.0] * 24 + [-1.0] * 12, lengths, longer=100))
    rows = table(result, "Accuracy by length").rows
    assert [row[1:] for row in rows] == [[12, "1 [1, 1]"], [12, "1 [1, 1]"], [12, "0 [0, 0]"]]


def in_words(items: list[Ranked]) -> str:
    (row,) = [
        r for r in table(card(judged([1.0]), items), "Reward model on held-out comparisons").rows if "ceil" in str(r)
    ]
    return str(row[1])


def test_ceiling_follows_from_how_often_two_annotators_agree() -> None:
    items = [ranked([i], [[6, 2], [7, 2]], (1, 2), (1, 2) if i < 17 else (2, 1)) for i in range(25)]
    assert in_words(items).startswith("0.68 to 0.8 (two annotators agree on 0.68 [")
    assert "of 25 pairs" in in_words(items)
    assert card(judged([1.0]), items).metrics["heldout/agreement"] == pytest.approx(0.68)


def test_ceiling_is_not_known_when_one_annotator_ranked() -> None:
    once = [ranked([i], [[6, 2], [7, 2]], (1, 2)) for i in range(25)]
    twice = [Ranked([i], [[6, 2], [7, 2]], (Ranking("ann", (1, 2)), Ranking("ann", (2, 1)))) for i in range(25)]
    assert in_words(once) == in_words(twice) == "not known: one annotator"
    assert "same pair in 1 prompts only" in in_words([*once, ranked([99], [[6, 2], [7, 2]], (1, 2), (1, 2))])


@pytest.mark.parametrize("start", ["base", "policy"])
@torch.no_grad()
def test_pairs_carry_the_starting_policys_own_logprobs(
    backbone: Backbone, policies: list[Path], tiny_model: Path, start: str
) -> None:
    """The reward model's adapter, loaded before and scored with in between, must not show."""
    from peft import PeftModel

    item = ranked([5, 6], [[7, 2], [8, 9, 2]], (2, 1))
    backbone.load("reward", Artifact("other", "policy", policies[1]), trainable=True)
    backbone.load("start", Artifact("base", "policy") if start == "base" else Artifact("p", "policy", policies[0]))
    head = ScalarHead(backbone.hidden_size).initialise(torch.Generator().manual_seed(1))
    found, answered = judge(backbone, ("reward", "start"), head, [item])

    plain: Any = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32).eval()
    plain = plain if start == "base" else PeftModel.from_pretrained(plain, str(policies[0])).eval()
    means, sums = [], []
    for answer in item.completions:
        ids = item.prompt + answer
        logprobs = plain(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        own = [float(logprobs[i - 1, ids[i]]) for i in range(2, len(ids))]
        sums.append(sum(own))
        means.append(sum(own) / len(own))
    assert float(found.logprob_P[0]) == pytest.approx(sums[1] - sums[0], abs=1e-4)
    assert float(found.token_logprob_P[0]) == pytest.approx(means[1] - means[0], abs=1e-4)
    assert (int(found.length_P[0]), int(found.longer_P[0])) == (1, 3)
    assert answered.length_N.tolist() == [2, 3] and answered.placement_N.tolist() == [0, 1]
    assert float(answered.score_N[1] - answered.score_N[0]) == float(found.score_P[0])


def test_comparisons_of_one_prompt_share_its_number(backbone: Backbone, policies: list[Path]) -> None:
    backbone.load("reward", Artifact("p", "policy", policies[0]))
    head = ScalarHead(backbone.hidden_size)
    items = [ranked([5], [[6, 2], [7, 2]], (1, 2)), ranked([8], [[6, 2], [7, 2]], (1, 2)), of_ranks((2, 1, 3))]
    found, answered = judge(backbone, ("reward", "reward"), head, items)
    assert found.prompt_P.tolist() == [0, 1, 0, 0, 0] and found.num_prompts == 2
    assert answered.prompt_N.tolist() == [0, 0, 1, 1, 0, 0, 0] and answered.item_N.tolist() == [0, 0, 1, 1, 2, 2, 2]


def plot(result: Result, title: str) -> Plot | None:
    return next((own for own in result.fragments if isinstance(own, Plot) and own.title == title), None)


def test_reliability_sets_each_bins_confidence_against_its_accuracy() -> None:
    """Sure and right in all of 20 pairs, or hardly sure and right in half of 20."""
    found = plot(card(judged([math.log(9)] * 20 + [0.04, -0.04] * 10)), "Reliability")
    assert found is not None and found.joined
    assert [point.name for point in found.points] == ["10 pairs, 10 prompts"] * 4
    assert [round(point.x, 2) for point in found.points] == [0.51, 0.51, 0.9, 0.9]
    assert [point.y for point in found.points] == [0.5, 0.5, 1, 1]
    low, high = found.points[0].low, found.points[0].high
    assert low is not None and high is not None and low < 0.5 < high


def test_reliability_has_no_curve_when_one_bin_is_all_that_can_be_filled() -> None:
    assert plot(card(judged([1.0] * 19)), "Reliability") is None
    clumped = judged([1.0] * 200, prompts=[1] * 190 + list(range(2, 12)))  # ten prompts, nearly all pairs are of one
    assert plot(card(clumped), "Reliability") is None
