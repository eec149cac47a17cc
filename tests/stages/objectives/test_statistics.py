from __future__ import annotations

import numpy as np
import pytest
import torch

from stages.objectives.statistics import bootstrap_ci, paired_bootstrap

VALUES = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_bootstrap_interval_is_near_the_normal_one_when_values_are_many():
    mean, low, high = bootstrap_ci(VALUES, num_resamples=4000)
    half = 1.96 * VALUES.numpy().std() / np.sqrt(200)
    assert mean == pytest.approx(VALUES.mean().item())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)


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
