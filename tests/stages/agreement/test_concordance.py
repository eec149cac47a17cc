"""Kendall's W and tau-b against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stages.agreement.concordance import kendall_w, mean_w, tau_b, tau_matrix
from stages.agreement.judged import Judged, average_ranks, normalised

NAN = np.nan


def with_ties(generator, *shape):
    return generator.integers(1, 5, shape).astype(float)


@pytest.mark.parametrize("seed", range(10))
def test_tau_b_equals_scipys_when_there_are_ties(seed):
    one, other = with_ties(np.random.default_rng(seed), 2, 7)
    assert tau_b(one, other) == pytest.approx(stats.kendalltau(one, other).statistic)


def test_tau_b_compares_what_both_ranked_and_is_not_known_when_one_ties_all():
    one, other = np.array([1, 2, NAN, 3]), np.array([2, 1, 3, NAN])
    assert tau_b(one, other) == -1
    assert tau_b(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) is None


@pytest.mark.parametrize("seed", range(10))
def test_w_is_what_scipys_friedman_statistic_says_when_there_are_ties(seed):
    ranks = with_ties(np.random.default_rng(seed), 5, 6)
    chi_square = stats.friedmanchisquare(*ranks.T).statistic  # = annotators * (completions - 1) * W
    assert kendall_w(ranks) == pytest.approx(chi_square / (5 * 5))


def test_w_is_one_when_all_agree_and_none_when_all_is_tied_or_one_ranked():
    assert kendall_w(np.array([[1.0, 2, 3]] * 3)) == pytest.approx(1)
    assert kendall_w(np.ones((3, 4))) is None
    assert kendall_w(np.array([[1.0, 2, 3]])) is None


def test_mean_w_keeps_numbers_of_annotators_apart_and_leaves_partial_rankings_out():
    full, partial = [1.0, 2, 3], [1.0, NAN, 2]
    tasks = [Judged("a", ("x", "y"), np.array([full, full])), Judged("b", ("x", "y", "z"), np.array([full] * 3)),
             Judged("c", ("x", "y", "z"), np.array([full, full[::-1], partial]))]  # fmt: skip
    found = mean_w(tasks)
    assert {num: (round(w.value, 6), w.n) for num, w in found.items()} == {2: (0.5, 2), 3: (1, 1)}


def test_tau_matrix_is_the_mean_over_shared_tasks():
    tasks = [
        Judged("a", ("y", "x"), np.array([[1.0, 2], [1, 2]])),
        Judged("b", ("x", "y"), np.array([[1.0, 2], [2, 1]])),
    ]
    ((both, figure),) = tau_matrix(tasks).items()
    assert (both, figure.value, figure.n) == (("x", "y"), 0, 2)


def test_ranks_are_normalised_over_what_was_ranked_with_ties_as_means():
    assert average_ranks(np.array([1.0, 2, 2, 3])).tolist() == [1, 2.5, 2.5, 4]
    assert normalised(np.array([1.0, 2, 2, 3])).tolist() == [0, 0.5, 0.5, 1]
    assert normalised(np.array([2, NAN, 1]))[[0, 2]].tolist() == [1, 0]
    assert np.isnan(normalised(np.array([1, NAN]))).all()
