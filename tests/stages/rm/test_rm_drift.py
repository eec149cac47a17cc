"""The answers one by one: where people place them, how scores follow length, and what best-of-n picks."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from ranked_items import of_ranks, ranked

from pipeline.contract import Plot, Table
from stages.rm.answered import Answered, placements, with_length
from stages.rm.data import Ranked
from stages.rm.drift import by_best_of

FOUR = (1, 2, 3, 4)


def answered(items: list[Ranked], scores: list[float]) -> Answered:
    """Each item's prompt is one of its own."""
    return Answered.of(items, torch.tensor(scores, dtype=torch.float64), torch.arange(len(items)))


def curve(given: Answered) -> tuple[Table, Plot]:
    table, plot = by_best_of(given)[0]
    assert isinstance(table, Table) and isinstance(plot, Plot) and plot.joined
    return table, plot


def test_placement_is_the_share_of_the_others_ranked_below() -> None:
    assert placements(of_ranks((2, 1, 3, 4))).tolist() == pytest.approx([2 / 3, 1, 1 / 3, 0])
    assert placements(of_ranks((1, 2, 2))).tolist() == [1, 0.25, 0.25]
    assert placements(of_ranks((1, 2), (2, 1), (1, 2))).tolist() == pytest.approx([2 / 3, 1 / 3])
    partly = placements(of_ranks((1, None, 2), (1, None, 2)))
    assert partly[[0, 2]].tolist() == [1, 0] and partly.isnan().tolist() == [False, True, False]


def test_answers_that_nobody_ranked_are_left_out() -> None:
    given = answered([of_ranks((1, None, 2)), of_ranks((2, 1))], [0.0, 1.0, 2.0, 3.0, 4.0])
    assert given.score_N.tolist() == [0, 2, 3, 4]
    assert (given.item_N.tolist(), given.prompt_N.tolist()) == ([0, 0, 1, 1], [0, 0, 1, 1])
    assert given.placement_N.tolist() == [1, 0, 0, 1]


def test_picks_of_a_perfect_reward_model_are_the_best_there_are() -> None:
    items = [of_ranks((1, 2, 3, 4)) for _ in range(12)]
    table, plot = curve(answered(items, [3.0, 2.0, 1.0, 0.0] * 12))
    # Of the best of 2 of 4: the best is among them in 3 draws of 6, else the second in 2, else the third.
    best = [0.5, (3 * 1 + 2 * 2 / 3 + 1 * 1 / 3) / 6, 1.0]
    assert [point.y for point in plot.points] == pytest.approx(best)
    assert [point.name for point in plot.points] == ["best of 1", "best of 2", "best of 4"]
    assert [row[-1] for row in table.rows] == [f"{own:.3g}" for own in best]
    assert [row[2] for row in table.rows] == ["0 [0, 0]", "0.833 [0.833, 0.833]", "1.5 [1.5, 1.5]"]
    assert [row[1] for row in table.rows] == ["0.00", f"{math.log(2) - 0.5:.2f}", f"{math.log(4) - 0.75:.2f}"]
    assert "people like the picks better" in plot.note


def test_overoptimised_score_is_told_by_people() -> None:
    """The worst answer scores highest by far, the others as people rank them: the best of four is always the worst."""
    items = [of_ranks(FOUR) for _ in range(12)]
    given = answered(items, [2.0, 1.0, 0.0, 9.0] * 12)
    _, plot = curve(given)
    assert [point.y for point in plot.points] == pytest.approx([0.5, (2 * 1 + 1 * 2 / 3 + 3 * 0) / 6, 0])
    assert "over-optimised" in plot.note
    figures = by_best_of(given)[1]
    assert (figures["heldout/best_of_4"], figures["heldout/best_of_4_ceiling"]) == (0, 1)


def test_interval_is_over_prompts() -> None:
    """Each ranking comes with its reverse under the same scores: together the picks are placed at 0.5, whatever n."""
    random = np.random.default_rng(0)
    orders = [random.permutation(4) + 1 for _ in range(30)]
    items = [of_ranks(tuple(int(rank) for rank in own)) for order in orders for own in (order, 5 - order)]
    given = answered(items, np.repeat(random.normal(size=(30, 1, 4)), 2, 1).reshape(-1).tolist())
    _, apart = curve(given)
    for point in apart.points[1:]:
        assert point.low is not None and point.high is not None and point.low < 0.48 < 0.52 < point.high
    assert "no change can be told from chance" in apart.note
    _, together = curve(replace(given, prompt_N=given.item_N // 2))
    assert [point.y for point in together.points] == pytest.approx([0.5] * 3)
    assert [point.low for point in together.points] == pytest.approx([0.5] * 3)


def test_curve_has_one_set_of_prompts_however_many_answers_each_has() -> None:
    items = [of_ranks((1, 2))] * 5 + [of_ranks((1, 2, 3))] * 12
    table, plot = curve(answered(items, [0.0, 1.0] * 5 + [3.0, 2.0, 1.0] * 12))
    assert [point.x for point in plot.points] == [1, 2, 3]
    assert [point.y for point in plot.points] == pytest.approx([0.5, (2 + 0.5) / 3, 1])
    assert "12 held-out comparisons of 3 or more" in table.note and "5 with fewer are left out" in table.note


def test_curve_ends_at_two_and_says_what_it_is_when_there_are_two_answers_each() -> None:
    items = [of_ranks((1, 2))] * 20
    table, plot = curve(answered(items, [1.0, 0.0] * 15 + [0.0, 1.0] * 5))
    assert [(point.x, point.y) for point in plot.points] == [(1, 0.5), (2, 0.75)]  # 0.75 is the pair accuracy
    assert "is the pair accuracy in other words" in table.note


def test_few_prompts_give_words_and_no_curve() -> None:
    (table,), figures = by_best_of(answered([of_ranks(FOUR)] * 9, [1.0, 2.0, 3.0, 4.0] * 9))
    assert isinstance(table, Table) and table.rows[0][0] == "too few: 9 prompts" and not figures


def test_scores_are_correlated_with_length_inside_prompts() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 9, size=(30, 3))
    items = [
        ranked([5], [[6] * int(length) for length in own], tuple(int(rank) for rank in (-own).argsort().argsort() + 1))
        for own in lengths
    ]
    scores = 0.3 * lengths + random.normal(size=(30, 3)) + 5 * random.normal(size=(30, 1))
    table, figures = with_length(answered(items, scores.reshape(-1).tolist()))
    centred = [(own - own.mean(1, keepdims=True)).reshape(-1) for own in (scores, lengths)]
    expected = scipy.stats.pearsonr(*centred).statistic
    assert figures["heldout/score_length_correlation"] == pytest.approx(expected)
    assert figures["heldout/score_length_correlation_low"] < expected < figures["heldout/score_length_correlation_high"]
    assert figures["heldout/rank_length_correlation"] > 0.8  # people put the longer answer first
    assert [row[0] for row in table.rows] == ["the reward model's score", "people's rankings"]


def test_length_is_not_correlated_when_prompts_are_few() -> None:
    table, figures = with_length(answered([of_ranks(FOUR)] * 9, [1.0, 2.0, 3.0, 4.0] * 9))
    assert table.rows[0][1] == "too few: 9 prompts" and not figures
