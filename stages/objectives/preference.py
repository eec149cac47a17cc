"""Losses for a reward model from rankings of two or more answers. Only score differences within a prompt matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def ranking_pairs(ranks: Sequence[int | None]) -> list[tuple[int, int]]:
    """(winner index, loser index) for every pair of answers that the ranking orders; rank 1 is best.

    Tied pairs and answers that were not ranked (None) give none, so the list can be empty. Order is by index.
    """
    ranked = [(index, rank) for index, rank in enumerate(ranks) if rank is not None]
    return [(i, j) for i, rank_i in ranked for j, rank_j in ranked if rank_i < rank_j]


def tied_pairs(ranks: Sequence[int | None]) -> list[tuple[int, int]]:
    """(i, j), i < j, for every pair of answers that share a rank; answers not ranked (None) tie with nothing."""
    ranked = [(index, rank) for index, rank in enumerate(ranks) if rank is not None]
    return [(i, j) for i, rank_i in ranked for j, rank_j in ranked if i < j and rank_i == rank_j]


def agreements(rankings: Sequence[Sequence[int | None]]) -> list[bool]:
    """For every two annotators and every pair of answers that both rank apart: do they order it alike?

    rankings: one annotator's ranks each, of the same answers. One annotator, or only ties, give an empty list.
    """
    found: list[bool] = []
    for one, other in combinations([ranking_pairs(ranks) for ranks in rankings], 2):
        found += [pair in other for pair in one if pair in other or pair[::-1] in other]
    return found


def bradley_terry(score_w: Tensor, score_l: Tensor, margin: Tensor | float = 0.0, smoothing: float = 0.0) -> Tensor:
    """-(1 - s) log sigmoid(d - m) - s log sigmoid(-(d - m)), d = score_w - score_l; unreduced, nats.

    score_w, score_l: the winner's and the loser's scores, one shape. margin m: how far apart they should be, in score
    units, for graded labels. smoothing s in [0, 0.5): the share of labels believed wrong; the optimal difference is
    then finite. Equal scores and no margin give log 2. Raises ValueError for a smoothing outside its range.
    """
    if not 0 <= smoothing < 0.5:
        raise ValueError(f"smoothing is {smoothing}: it must be at least 0 and under 0.5")
    difference = score_w - score_l - margin
    return -(1 - smoothing) * logsigmoid(difference) - smoothing * logsigmoid(-difference)


def soft_tie(score_i: Tensor, score_j: Tensor) -> Tensor:
    """A tie as half a win for each: -(log sigmoid(d) + log sigmoid(-d)) / 2; least (log 2) where the scores agree."""
    difference = score_i - score_j
    return -0.5 * (logsigmoid(difference) + logsigmoid(-difference))


def kwise_bradley_terry(
    scores_N: Tensor, pairs_P2: Tensor, group_P: Tensor, margin: Tensor | float = 0.0, smoothing: float = 0.0
) -> Tensor:
    """Mean Bradley-Terry loss over the pairs of each prompt, so that every prompt weighs the same; loss_G.

    Ouyang et al. 2022, eq. 1: -1 / C(K, 2) * sum over pairs. scores_N: every answer once, all prompts in one row.
    pairs_P2: (winner, loser) as indices into scores_N. group_P: the prompt of each pair, 0..G-1, each occurring.
    K = 2 is the pairwise loss. Raises ValueError if there is no pair, or a prompt without one.
    """
    winners_P, losers_P = pairs_P2.unbind(-1)
    return group_mean(bradley_terry(scores_N[winners_P], scores_N[losers_P], margin, smoothing), group_P)


def kwise_with_soft_ties(
    scores_N: Tensor, pairs_P2: Tensor, group_P: Tensor, tied_P: Tensor, smoothing: float = 0.0
) -> Tensor:
    """As kwise_bradley_terry, with tied pairs kept: where tied_P is True the pair's loss is soft_tie. loss_G."""
    first_P, second_P = (scores_N[index_P] for index_P in pairs_P2.unbind(-1))
    ordered_P = bradley_terry(first_P, second_P, smoothing=smoothing)
    return group_mean(torch.where(tied_P, soft_tie(first_P, second_P), ordered_P), group_P)


def kwise_soft_bradley_terry(
    scores_N: Tensor, pairs_P2: Tensor, share_P: Tensor, weight_P: Tensor, group_P: Tensor
) -> Tensor:
    """Bradley-Terry on shares of votes: -p log sigmoid(d) - (1 - p) log sigmoid(-d), weighed within a prompt; loss_G.

    d = score of the first less that of the second; share_P: p in [0, 1], the share of votes for the first, so that the
    best d is log(p / (1 - p)): people's doubt is learnt too. weight_P > 0: the pair's among its prompt's, whose loss is
    the weighted mean; only ratios within a prompt matter. pairs_P2 and group_P as in kwise_bradley_terry, with each
    pair once; that loss is this one where all shares are 1 and all weights equal. Raises ValueError as it does.
    """
    first_P, second_P = (scores_N[index_P] for index_P in pairs_P2.unbind(-1))
    difference_P = first_P - second_P
    loss_P = -share_P * logsigmoid(difference_P) - (1 - share_P) * logsigmoid(-difference_P)
    return group_mean(weight_P * loss_P, group_P) / group_mean(weight_P, group_P)


def kwise_rao_kupper(scores_N: Tensor, pairs_P2: Tensor, group_P: Tensor, tied_P: Tensor, theta: float) -> Tensor:
    """As kwise_bradley_terry under rao_kupper's model: -log P(tie) where tied_P is True, else -log P(wins). loss_G.

    In logarithms throughout, so that scores far apart stay finite. Raises ValueError unless theta > 1: at 1 nothing
    ties.
    """
    if not theta > 1:
        raise ValueError(f"theta is {theta}: it must be above 1 where pairs tie")
    first_P, second_P = (scores_N[index_P] for index_P in pairs_P2.unbind(-1))
    win_P = logsigmoid(first_P - second_P - math.log(theta))
    lose_P = logsigmoid(second_P - first_P - math.log(theta))
    return group_mean(-torch.where(tied_P, math.log(theta**2 - 1) + win_P + lose_P, win_P), group_P)


def group_mean(losses_P: Tensor, group_P: Tensor) -> Tensor:
    """Mean of the losses of each group, [G]; groups are numbered 0..G-1 and each has at least one member.

    Raises ValueError otherwise: a prompt with nothing to compare is left out, and counted, by whoever makes the batch.
    """
    if group_P.numel() == 0:
        raise ValueError("there is no pair to learn from")
    counts_G = torch.bincount(group_P)
    if not bool((counts_G > 0).all()):
        empty = int((counts_G == 0).nonzero()[0])
        raise ValueError(f"group {empty} has no pair: number the groups that have one from 0 without gaps")
    sums_G = losses_P.new_zeros(len(counts_G)).index_add(0, group_P, losses_P)
    return sums_G / counts_G


def centering(score_w: Tensor, score_l: Tensor) -> Tensor:
    """(score_w + score_l)^2, unreduced: a small multiple (0.01) keeps the scores' free offset near 0.

    Eisenstein et al. 2023, and TRL's center_rewards_coefficient. It does not replace normalising scores before PPO.
    """
    return (score_w + score_l) ** 2


def plackett_luce(scores_K: Tensor) -> Tensor:
    """Negative log-likelihood of a full ranking without ties; scores in true order, best first; nats.

    sum over i of logsumexp(scores[i:]) - scores[i]. Leading dimensions are batches. K = 2 is Bradley-Terry; equal
    scores give log K!. Only the order of the slots carries the ranking.
    """
    remaining_K = scores_K.flip(-1).logcumsumexp(-1).flip(-1)
    return (remaining_K - scores_K).sum(-1)


def rao_kupper(score_i: Tensor, score_j: Tensor, theta: float) -> tuple[Tensor, Tensor]:
    """(P(i wins), P(tie)) of the Rao-Kupper model (1967); the rest is P(j wins).

    With p = exp(score): P(i wins) = p_i / (p_i + theta p_j), and
    P(tie) = (theta^2 - 1) p_i p_j / ((p_i + theta p_j)(p_j + theta p_i)).
    theta >= 1 is how readily people call a tie; 1 is Bradley-Terry. Raises ValueError below 1.
    """
    if not theta >= 1:
        raise ValueError(f"theta is {theta}: it must be at least 1")
    log_theta = torch.log(torch.as_tensor(theta, dtype=score_i.dtype, device=score_i.device))
    win = torch.sigmoid(score_i - score_j - log_theta)
    lose = torch.sigmoid(score_j - score_i - log_theta)
    return win, (theta**2 - 1) * win * lose
