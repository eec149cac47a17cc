"""Intervals hold what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from stages.agreement.intervals import mean_by_task, points_either_way, share


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (5, 10), (10, 10), (70, 100)])
def test_share_has_wilsons_interval(hits, n):
    found, expected = share(hits, n, "pairs"), stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-6)


def test_bootstrap_covers_the_truth_when_pairs_of_a_task_go_together():
    """Each task has its own chance of agreement, so its six pairs are worth less than six; the mean is .7."""
    generator, covered, num = np.random.default_rng(0), 0, 200
    for seed in range(num):
        agreed_T = generator.binomial(6, generator.beta(1.4, 0.6, 60)).astype(float)
        figure = mean_by_task(agreed_T, np.full(60, 6.0), "pairs", seed)
        covered += figure.low <= 0.7 <= figure.high
    assert 0.90 <= covered / num <= 0.98  # .95 give or take 2.5 standard errors of 200 trials and of few tasks


def test_independent_pairs_would_cover_far_less():
    """What resampling pairs instead of tasks would do: the check above can fail."""
    generator, covered = np.random.default_rng(0), 0
    for _ in range(200):
        agreed = int(generator.binomial(6, generator.beta(1.4, 0.6, 60)).sum())
        figure = share(agreed, 360, "pairs")
        covered += figure.low <= 0.7 <= figure.high
    assert covered / 200 < 0.85


def test_bootstrap_gives_no_interval_when_tasks_are_few_and_no_value_when_nothing_is_there():
    assert mean_by_task(np.ones(9), np.ones(9), "pairs").low is None
    assert mean_by_task(np.zeros(9), np.zeros(9), "pairs").value is None


def test_bootstrap_is_the_same_for_the_same_seed():
    sums = np.arange(20.0)
    assert mean_by_task(sums, np.full(20, 20.0), "pairs", 3) == mean_by_task(sums, np.full(20, 20.0), "pairs", 3)


def test_hundred_pairs_tell_a_share_to_ten_points():
    assert points_either_way(100) == pytest.approx(0.098, abs=5e-4)
