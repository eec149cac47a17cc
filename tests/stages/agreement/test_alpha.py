"""Krippendorff's alpha against his own worked example, real data, and people who guess."""

from __future__ import annotations

import numpy as np
import pytest

from stages.agreement.alpha import alpha, rank_alpha
from stages.agreement.judged import Judged

NAN = np.nan
# Four observers, twelve units: Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C.
WORKED = np.array([
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
    [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
])  # fmt: skip


@pytest.mark.parametrize(("metric", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_is_as_published_for_the_worked_example(metric, published):
    assert alpha(WORKED, metric) == pytest.approx(published, abs=5e-4)


def test_alpha_of_two_observers_is_as_published_for_the_binary_example():
    one, other = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha(np.array([one, other], float), "nominal") == pytest.approx(0.095, abs=5e-4)


def test_alpha_equals_a_slow_count_over_all_pairs_of_values():
    generator = np.random.default_rng(3)
    ratings = generator.integers(0, 5, (4, 30)).astype(float)
    ratings[generator.random(ratings.shape) < 0.3] = NAN
    units = [[v for v in unit if v == v] for unit in ratings.T]
    units = [unit for unit in units if len(unit) > 1]
    inside = sum(sum((a - b) ** 2 for a in unit for b in unit) / (len(unit) - 1) for unit in units)
    pooled = [v for unit in units for v in unit]
    across = sum((a - b) ** 2 for a in pooled for b in pooled) / (len(pooled) - 1)
    assert alpha(ratings) == pytest.approx(1 - inside / across)


def test_alpha_is_one_when_all_agree_and_negative_when_two_are_opposed():
    assert alpha(np.array([[1.0, 2, 3], [1, 2, 3]])) == pytest.approx(1)
    assert alpha(np.array([[1.0, 2, 3], [3, 2, 1]])) < 0


@pytest.mark.parametrize("ratings", [[[1, NAN], [NAN, 2]], [[1, 1], [1, 1]], [[NAN, NAN]]])
def test_alpha_is_not_known_when_nothing_could_differ(ratings):
    assert alpha(np.array(ratings, float)) is None


def guesses(sizes, num=600, seed=0):
    generator = np.random.default_rng(seed)
    return [
        Judged(str(n), ("ann", "ben"), np.array([generator.permutation(sizes[n % len(sizes)]) + 1.0 for _ in range(2)]))
        for n in range(num)
    ]


@pytest.mark.parametrize("sizes", [(2, 8), (2, 4, 9)])
def test_rank_alpha_is_near_zero_when_people_guess_over_tasks_of_mixed_size(sizes):
    found = [rank_alpha(guesses(sizes, seed=seed)) for seed in range(3)]
    assert all(abs(figure.value) < 0.05 for figure in found)
    assert sum(figure.low < 0 < figure.high for figure in found) >= 2


def test_raw_ranks_of_mixed_size_seem_to_agree_by_chance():
    """The trap that normalised ranks avoid, so that nobody takes them out."""
    columns = [column for task in guesses((2, 8)) for column in task.ranks_AK.T]
    assert alpha(np.array(columns).T, "ordinal") > 0.2


def test_rank_alpha_is_one_when_identical_rankings_have_ties_and_gaps():
    tasks = [Judged(str(n), ("ann", "ben"), np.array([[1, 2, 2, NAN]] * 2)) for n in range(12)]
    found = rank_alpha(tasks)
    assert (found.value, found.low, found.high, found.n) == (1, 1, 1, 36)


def test_rank_alpha_has_no_interval_when_tasks_are_few_and_no_value_when_there_are_none():
    assert rank_alpha(guesses((3,), num=9)).low is None
    assert rank_alpha([]).value is None
