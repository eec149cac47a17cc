"""Votes, worked by hand."""

from __future__ import annotations

import pytest

from stages.agreement.votes import votes
from stages.formats.records import Ranking


def given(*ranks, weights=(1.0, 1.0, 1.0, 1.0)):
    return [Ranking(f"annotator {i}", own, weight) for i, (own, weight) in enumerate(zip(ranks, weights, strict=False))]


@pytest.mark.parametrize(("ranks", "share"), [
    ([(1, 2)], 3 / 4), ([(2, 1)], 1 / 4), ([(1, 2), (1, 2)], 5 / 6), ([(1, 2), (2, 1)], 1 / 2),
    ([(1, 2)] * 3, 1), ([(1, 2), (1, 2), (2, 1)], 2 / 3),
])  # fmt: skip
def test_share_is_smoothed_when_fewer_than_three_voted(ranks, share):
    (found,) = votes(given(*ranks), ties=False)
    assert (found.share, found.num) == (pytest.approx(share), len(ranks))


def test_annotators_weights_count_in_the_share():
    (found,) = votes(given((1, 2), (2, 1), (2, 1), weights=(4.0, 1.0, 1.0)), ties=False)
    assert found.share == pytest.approx(4 / 6)


def test_tie_is_half_a_vote_for_each_or_none():
    both = given((1, 1), (1, 2), (1, 2))
    assert votes(both, ties=True)[0].share == pytest.approx(2.5 / 3)
    assert votes(both, ties=False)[0].share == pytest.approx(5 / 6)
    assert votes(given((1, 1)), ties=False) == []


def test_each_annotators_pairs_weigh_as_much_as_the_annotator():
    nine, two = tuple(range(1, 10)), (1, 2, *[None] * 7)
    found = votes(given(nine, two), ties=False)
    assert len(found) == 36
    assert (found[0].first, found[0].second, found[0].num) == (0, 1, 2)
    assert found[0].weight == pytest.approx(1 + 1 / 36)
    assert sum(vote.weight for vote in found) == pytest.approx(2)


def test_annotator_of_weight_zero_is_not_heard():
    assert votes(given((1, 2), weights=(0.0,)), ties=True) == []
