from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from stages.objectives.statistics import bootstrap_ci, correlation, paired_bootstrap

VALUES = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bootstrap_interval_is_near_the_normal_one_when_values_are_many():
    mean, low, high = bootstrap_ci(VALUES, num_resamples=4000)
    half = 1.96 * VALUES.numpy().std() / np.sqrt(200)
    assert mean == pytest.approx(VALUES.mean().item())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)


def test_bootstrap_interval_is_students_when_few_values_lie_as_a_normal_sample_does():
    values = scipy.stats.norm.ppf((np.arange(12) + 0.5) / 12)
    low, high = scipy.stats.t.interval(0.95, 11, 0, scipy.stats.sem(values))
    assert bootstrap_ci(values, 50_000) == pytest.approx((0, low, high), rel=0.03, abs=1e-9)
    assert bootstrap_ci(values, 50_000, level=0.99)[2] > high * 1.2


def test_bootstrap_is_a_function_of_its_seed_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    assert bootstrap_ci(VALUES, seed=3) == bootstrap_ci(VALUES, seed=3) != bootstrap_ci(VALUES, seed=4)
    assert torch.equal(torch.get_rng_state(), before)


def test_bootstrap_does_not_gain_from_repeated_values_when_they_share_a_group():
    repeated = VALUES.repeat_interleave(4)
    groups = [f"prompt-{i // 4}" for i in range(800)]
    assert bootstrap_ci(repeated, groups=groups) == pytest.approx(bootstrap_ci(VALUES))
    assert bootstrap_ci(repeated)[2] < bootstrap_ci(repeated, groups=groups)[2]


def test_bootstrap_groups_by_value_when_labels_are_a_tensor():
    labels = [0, 0, 1, 1, 2]
    values = [1.0, 1.0, 2.0, 2.0, 9.0]
    assert bootstrap_ci(values, groups=torch.tensor(labels)) == bootstrap_ci(values, groups=labels)
    assert bootstrap_ci(values, groups=torch.tensor([7] * 5)) == (3.0, 3.0, 3.0)


def test_bootstrap_weighs_values_alike_when_groups_differ_in_size():
    mean, low, high = bootstrap_ci([1.0, 1.0, 1.0, 5.0], groups=["a", "a", "a", "b"])
    assert (mean, low, high) == (2.0, 1.0, 5.0)


def test_bootstrap_interval_has_no_width_when_there_is_one_value():
    assert bootstrap_ci([0.25]) == (0.25, 0.25, 0.25)


def test_paired_bootstrap_sees_a_small_steady_difference_that_two_intervals_hide():
    mean, low, high = paired_bootstrap(VALUES + 0.05, VALUES)
    assert (mean, low, high) == pytest.approx((0.05, 0.05, 0.05))
    assert bootstrap_ci(VALUES + 0.05)[1] < bootstrap_ci(VALUES)[2]


def test_paired_bootstrap_changes_sign_when_candidates_swap():
    other = VALUES.flip(0)
    mean, low, high = paired_bootstrap(VALUES, other)
    assert paired_bootstrap(other, VALUES) == pytest.approx((-mean, -high, -low))


@pytest.mark.parametrize("values", [[], [1.0, float("nan")]])
def test_bootstrap_refuses_no_values_and_values_that_are_not_finite(values):
    with pytest.raises(ValueError, match="finite"):
        bootstrap_ci(values)


def test_bootstrap_refuses_labels_and_pairs_that_do_not_match():
    with pytest.raises(ValueError, match="labels"):
        bootstrap_ci([1.0, 2.0], groups=["a"])
    with pytest.raises(ValueError, match="needs both"):
        paired_bootstrap([1.0, 2.0], [1.0])


def test_correlation_has_fishers_interval_when_worked_by_hand():
    a, b = [1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 1.0, 4.0, 3.0, 5.0]  # r = 0.8: atanh 1.0986123, 1.9599640 / sqrt 2 = 1.3859
    r, low, high = correlation(a, b)
    assert r == pytest.approx(0.8)
    assert (low, high) == pytest.approx((-0.2796, 0.9862), abs=1e-4)


def test_correlation_agrees_with_scipy_when_values_are_many():
    other = VALUES + torch.randn(200, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = scipy.stats.pearsonr(VALUES.numpy(), other.numpy())
    interval = expected.confidence_interval(0.95)
    assert correlation(VALUES, other) == pytest.approx((expected.statistic, interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize(("a", "b"), [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [5, 5, 5, 5]), ([7] * 9, list(range(9)))])
def test_correlation_says_nothing_when_it_cannot_know(a: list[float], b: list[float]):
    assert correlation(a, b) == (0.0, -1.0, 1.0)


def test_correlation_is_certain_when_one_is_a_line_of_the_other():
    assert correlation([1, 2, 3, 4, 5], [-2, -4, -6, -8, -10]) == pytest.approx((-1, -1, -1), abs=1e-5)
