"""The consensus order against choix."""

from __future__ import annotations

import choix
import numpy as np
import pytest

from stages.agreement.plackett_luce import consensus, plackett_luce_map
from stages.formats.records import Ranking


def rankings(*ranks):
    return [Ranking(f"annotator {i}", tuple(own)) for i, own in enumerate(ranks)]


def drawn(seed, count, num, kept):
    """Rankings of `kept` of the `count` completions, as orders and as records."""
    generator = np.random.default_rng(seed)
    orders = [[int(i) for i in generator.permutation(count)[:kept]] for _ in range(num)]
    return orders, rankings(*([order.index(i) + 1 if i in order else None for i in range(count)] for order in orders))


@pytest.mark.parametrize(("count", "num", "kept"), [(4, 3, 4), (6, 5, 3), (9, 8, 9)])
def test_scores_equal_choixs_when_there_are_no_ties(count, num, kept):
    orders, given = drawn(count, count, num, kept)
    expected = choix.opt_rankings(count, orders, alpha=0.01, tol=1e-10)
    assert plackett_luce_map(given, 0.01) == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_scores_are_a_maximum_when_one_always_wins():
    expected = choix.opt_rankings(3, [[0, 1, 2]] * 4, alpha=0.01, tol=1e-10)
    assert plackett_luce_map(rankings(*[(1, 2, 3)] * 4)) == pytest.approx(expected - expected.mean(), abs=1e-4)


def test_consensus_is_the_majoritys_order_and_ties_what_nothing_tells_apart():
    assert consensus(rankings((1, 2, 3), (1, 2, 3), (3, 2, 1))) == (1, 2, 3)
    assert consensus(rankings((1, 2), (2, 1))) == (1, 1)
    assert consensus(rankings((1, 1, 2))) == (1, 1, 2)
    assert consensus(rankings((1, 2, 3), (2, 3, 1), (3, 1, 2))) == (1, 1, 1)  # Condorcet's circle


def test_consensus_leaves_out_what_nobody_ranked():
    assert consensus(rankings((2, None, 1), (2, None, 1))) == (2, None, 1)


def test_weight_of_two_is_two_alike():
    twice = [Ranking("ann", (1, 2), 2.0), Ranking("ben", (2, 1)), Ranking("cid", (2, 1), 0.0)]
    assert plackett_luce_map(twice) == pytest.approx(plackett_luce_map(rankings((1, 2), (1, 2), (2, 1))))
