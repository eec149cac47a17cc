from __future__ import annotations

import math

import pytest
import torch
from torch.testing import assert_close

from stages.objectives.preference import (
    agreements,
    bradley_terry,
    centering,
    group_mean,
    kwise_bradley_terry,
    kwise_rao_kupper,
    kwise_soft_bradley_terry,
    kwise_with_soft_ties,
    plackett_luce,
    ranking_pairs,
    rao_kupper,
    soft_tie,
    tied_pairs,
)

D = torch.float64
SCORES = torch.tensor([2, 1, 0.5, -1], dtype=D)
WINNER, LOSER = torch.tensor(1.5, dtype=D), torch.tensor(0.3, dtype=D)


def test_ranking_pairs_puts_the_better_rank_first():
    assert ranking_pairs([3, 1, 2]) == [(1, 0), (1, 2), (2, 0)]


def test_ranking_pairs_skips_ties_and_answers_not_ranked():
    assert ranking_pairs([1, None, 2, 2]) == [(0, 2), (0, 3)]
    assert tied_pairs([1, None, 2, 2]) == [(2, 3)]


@pytest.mark.parametrize("ranks", [[], [1], [1, 1, 1], [None, None, 2]])
def test_ranking_pairs_is_empty_when_nothing_is_ordered(ranks):
    assert ranking_pairs(ranks) == []


def test_agreements_count_the_pairs_that_two_annotators_both_rank_apart():
    assert agreements([[1, 2, 3], [1, 3, 2]]) == [True, True, False]
    assert agreements([[1, 2], [2, 1], [1, 2]]) == [False, True, False]
    assert agreements([[1, 2, 2], [1, None, 2]]) == [True]


@pytest.mark.parametrize("rankings", [[], [[1, 2]], [[1, 1], [1, 2]]])
def test_agreements_are_none_when_no_pair_is_ordered_twice(rankings):
    assert agreements(rankings) == []


@pytest.mark.parametrize(
    ("winner", "loser", "options", "expected"),
    [
        (WINNER, LOSER, {}, 0.2632824673),
        (LOSER, WINNER, {}, 1.4632824673),
        (WINNER, LOSER, {"margin": 0.5}, 0.4031860489),
        (WINNER, LOSER, {"smoothing": 0.1}, 0.3832824673),
    ],
)
def test_bradley_terry_matches_golden(winner, loser, options, expected):
    assert bradley_terry(winner, loser, **options).item() == pytest.approx(expected, abs=1e-10)


def test_bradley_terry_is_log_two_when_scores_are_equal():
    assert bradley_terry(WINNER, WINNER).item() == pytest.approx(math.log(2))


def test_bradley_terry_stays_finite_when_scores_are_far_apart():
    assert bradley_terry(torch.tensor(-1e4), torch.tensor(1e4)).item() == pytest.approx(2e4)


def test_bradley_terry_with_smoothing_is_flat_at_the_logit_of_the_clean_share():
    difference = torch.tensor(math.log(9), dtype=D, requires_grad=True)  # a tenth of the labels is wrong
    bradley_terry(difference, torch.zeros((), dtype=D), smoothing=0.1).backward()
    assert difference.grad.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5])
def test_bradley_terry_refuses_a_smoothing_outside_its_range(smoothing):
    with pytest.raises(ValueError, match="smoothing"):
        bradley_terry(WINNER, LOSER, smoothing=smoothing)


def test_centering_matches_golden():
    assert 0.01 * centering(WINNER, LOSER).item() == pytest.approx(0.0324)


def one_group(ranks):
    pairs = torch.tensor(ranking_pairs(ranks))
    return pairs, torch.zeros(len(pairs), dtype=torch.long)


def test_kwise_loss_and_gradient_match_golden():
    scores = SCORES.clone().requires_grad_()
    loss = kwise_bradley_terry(scores, *one_group([1, 2, 3, 4]))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([0.2276134317], abs=1e-10)
    assert scores.grad.tolist() == pytest.approx([-0.08313214, -0.03796703, 0.06292344, 0.05817572], abs=1e-8)


def test_kwise_loss_matches_golden_when_a_tie_is_dropped():
    assert kwise_bradley_terry(SCORES, *one_group([1, 2, 2, 4])).item() == pytest.approx(0.1783207212, abs=1e-10)


def test_kwise_loss_matches_golden_when_a_tie_is_soft():
    ranks = [1, 2, 2, 4]
    pairs = torch.tensor(ranking_pairs(ranks) + tied_pairs(ranks))
    tied = torch.tensor([False] * 5 + [True])
    loss = kwise_with_soft_ties(SCORES, pairs, torch.zeros(6, dtype=torch.long), tied)
    assert loss.item() == pytest.approx(0.2692800984, abs=1e-10)


def test_kwise_loss_with_soft_ties_smooths_the_ordered_pairs_alone():
    scores, tied = torch.stack([WINNER, LOSER, WINNER, LOSER]), torch.tensor([False, True])
    loss = kwise_with_soft_ties(scores, torch.tensor([[0, 1], [2, 3]]), torch.tensor([0, 1]), tied, smoothing=0.1)
    soft = (0.2632824673 + 1.4632824673) / 2
    assert loss.tolist() == pytest.approx([0.3832824673, soft], abs=1e-10)


def test_kwise_loss_matches_golden_when_ties_are_rao_kuppers():
    scores = torch.tensor([1, 0.5], dtype=D)
    pairs, groups = torch.tensor([[0, 1], [0, 1]]), torch.tensor([0, 1])
    loss = kwise_rao_kupper(scores, pairs, groups, torch.tensor([False, True]), math.exp(0.5))
    assert loss.tolist() == pytest.approx([math.log(2), -math.log(0.2310585786)], abs=1e-9)
    both = kwise_rao_kupper(scores, pairs, torch.zeros_like(groups), torch.tensor([False, True]), math.exp(0.5))
    assert both.item() == pytest.approx(loss.mean().item())


def test_kwise_loss_with_rao_kuppers_ties_stays_finite_when_scores_are_far_apart():
    scores = torch.tensor([0.0, 1000.0])
    loss = kwise_rao_kupper(
        scores, torch.tensor([[0, 1], [0, 1]]), torch.tensor([0, 1]), torch.tensor([False, True]), 2.0
    )
    expected = 1000 + math.log(2)  # P(wins) is near exp(-1000) / theta, P(tie) near 3 times that
    assert loss.tolist() == pytest.approx([expected, expected - math.log(3)], rel=1e-6)


def test_kwise_loss_is_the_pairwise_one_when_there_are_two_answers():
    scores = torch.tensor([0.4, -0.2, 1.0, 3.0])
    loss = kwise_bradley_terry(scores, torch.tensor([[0, 1], [3, 2]]), torch.tensor([0, 1]))
    assert_close(loss, bradley_terry(scores[[0, 3]], scores[[1, 2]]))


def test_kwise_loss_weighs_prompts_alike_when_they_have_unequal_numbers_of_pairs():
    scores = torch.cat([SCORES, torch.stack([WINNER, LOSER])])
    pairs = torch.tensor([*ranking_pairs([1, 2, 3, 4]), (4, 5)])
    loss = kwise_bradley_terry(scores, pairs, torch.tensor([0] * 6 + [1]))
    assert loss.tolist() == pytest.approx([0.2276134317, 0.2632824673], abs=1e-10)


def test_kwise_loss_does_not_change_when_pairs_are_permuted_or_scores_shift():
    pairs, group = one_group([1, 2, 3, 4])
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    assert_close(kwise_bradley_terry(SCORES + 5, pairs[order], group), kwise_bradley_terry(SCORES, pairs, group))


@pytest.mark.parametrize("group", [[], [0, 2], [1, 1]])
def test_group_mean_refuses_groups_without_a_pair(group):
    with pytest.raises(ValueError, match="no pair"):
        group_mean(torch.ones(len(group)), torch.tensor(group, dtype=torch.long))


def test_soft_tie_pulls_scores_together_and_is_log_two_at_best():
    first = torch.tensor(0.5, requires_grad=True)
    soft_tie(first, torch.tensor(0.0)).backward()
    assert first.grad > 0
    assert soft_tie(WINNER, WINNER).item() == pytest.approx(math.log(2))


def test_plackett_luce_matches_golden():
    assert plackett_luce(SCORES).item() == pytest.approx(1.2515520957, abs=1e-10)


def test_plackett_luce_is_log_of_the_orders_when_scores_are_equal():
    assert plackett_luce(torch.zeros(2, 4)).tolist() == pytest.approx([math.log(24)] * 2)


def test_plackett_luce_is_bradley_terry_when_there_are_two_answers():
    assert_close(plackett_luce(torch.stack([WINNER, LOSER])), bradley_terry(WINNER, LOSER))


def test_rao_kupper_matches_golden():
    win, tie = rao_kupper(torch.tensor(1.0, dtype=D), torch.tensor(0.5, dtype=D), math.exp(0.5))
    assert (win.item(), tie.item()) == pytest.approx((0.5, 0.2310585786), abs=1e-10)


def test_rao_kupper_probabilities_add_up_to_one():
    win, tie = rao_kupper(WINNER, LOSER, 1.7)
    lose, same_tie = rao_kupper(LOSER, WINNER, 1.7)
    assert (win + tie + lose).item() == pytest.approx(1)
    assert tie.item() == pytest.approx(same_tie.item())


def test_rao_kupper_is_bradley_terry_when_ties_never_happen():
    win, tie = rao_kupper(WINNER, LOSER, 1.0)
    assert -win.log().item() == pytest.approx(0.2632824673, abs=1e-10)
    assert tie.item() == 0


def test_kwise_loss_with_rao_kuppers_ties_refuses_a_theta_at_which_nothing_ties():
    with pytest.raises(ValueError, match="above 1"):
        kwise_rao_kupper(SCORES, *one_group([1, 2, 3, 4]), torch.zeros(6, dtype=torch.bool), 1.0)


def test_rao_kupper_refuses_a_theta_below_one():
    with pytest.raises(ValueError, match="at least 1"):
        rao_kupper(WINNER, LOSER, 0.9)


def soft(share, weight=(1.0,), pairs=((0, 1),), scores=(1.5, 0.3)):
    group = torch.zeros(len(pairs), dtype=torch.long)
    shares, weights = (torch.tensor(values, dtype=D) for values in (share, weight))
    return kwise_soft_bradley_terry(torch.as_tensor(scores, dtype=D), torch.tensor(pairs), shares, weights, group)


def test_soft_loss_matches_golden():
    assert soft([0.75]).item() == pytest.approx(0.75 * 0.2632824673 + 0.25 * 1.4632824673, abs=1e-9)


def test_soft_loss_equals_torchs_cross_entropy_with_logits():
    scores, pairs = torch.randn(5, dtype=D), torch.tensor([[0, 1], [3, 2], [4, 0]])
    share, weight = torch.rand(3, dtype=D), torch.rand(3, dtype=D)
    difference = scores[pairs[:, 0]] - scores[pairs[:, 1]]
    each = torch.nn.functional.binary_cross_entropy_with_logits(difference, share, weight, reduction="sum")
    found = kwise_soft_bradley_terry(scores, pairs, share, weight, torch.zeros(3, dtype=torch.long))
    assert found.item() == pytest.approx((each / weight.sum()).item())


def test_soft_loss_is_the_hard_one_when_all_votes_are_for_the_winner():
    pairs, group = one_group([1, 2, 3, 4])
    ones = torch.ones(len(pairs), dtype=D)
    assert_close(
        kwise_soft_bradley_terry(SCORES, pairs, ones, 7 * ones, group), kwise_bradley_terry(SCORES, pairs, group)
    )


def test_soft_loss_is_flat_at_the_logit_of_the_share():
    scores = torch.tensor([math.log(3), 0.0], dtype=D, requires_grad=True)
    soft([0.75], scores=scores).backward()
    assert_close(scores.grad, torch.zeros(2, dtype=D), atol=1e-12, rtol=0)


def test_soft_loss_stays_finite_when_scores_are_far_apart_and_the_share_is_whole():
    assert soft([1.0], scores=(-1e4, 1e4)).item() == pytest.approx(2e4)


def test_soft_loss_weighs_pairs_within_a_prompt_and_prompts_alike():
    scores = torch.cat([SCORES, torch.stack([WINNER, LOSER])])
    pairs, share = torch.tensor([[0, 1], [0, 3], [4, 5]]), torch.ones(3, dtype=D)
    weight, group = torch.tensor([3.0, 1, 0.01], dtype=D), torch.tensor([0, 0, 1])
    found = kwise_soft_bradley_terry(scores, pairs, share, weight, group).tolist()
    one, three = math.log1p(math.exp(-1)), math.log1p(math.exp(-3))
    assert found == pytest.approx([(3 * one + three) / 4, 0.2632824673], abs=1e-9)
