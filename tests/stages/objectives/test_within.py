from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch

from stages.objectives.within import correlation_within


def grouped(num_groups: int, size: int, within: float, between: float, seed: int = 0):
    """Two columns that correlate as told inside groups, and by their groups' own means."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, num_groups, size))
    b = within * a + np.sqrt(1 - within**2) * b
    offset = 10 * random.normal(size=(num_groups, 1))
    flat = [torch.tensor(own.reshape(-1)) for own in (a + offset, b + between * offset)]
    return *flat, torch.arange(num_groups).repeat_interleave(size)


def test_correlation_is_scipys_of_the_deviations_from_the_groups_means():
    a, b, group = grouped(40, 3, within=0.4, between=-1.0)
    deviations = [own.reshape(40, 3).numpy() - own.reshape(40, 3).numpy().mean(1, keepdims=True) for own in (a, b)]
    expected = scipy.stats.pearsonr(*(own.reshape(-1) for own in deviations)).statistic
    assert correlation_within(a, b, group)[0] == pytest.approx(expected)
    assert float(torch.corrcoef(torch.stack([a, b]))[0, 1]) < -0.9  # without the groups it is the groups' own


def test_interval_is_that_of_a_bootstrap_over_groups_by_hand():
    a, b, group = grouped(30, 4, within=0.5, between=0.0)
    centred = [(own.reshape(30, 4) - own.reshape(30, 4).mean(1, keepdim=True)).numpy() for own in (a, b)]
    random, found = np.random.default_rng(1), []
    for _ in range(4000):
        drawn = random.integers(30, size=30)
        x, y = (own[drawn].reshape(-1) for own in centred)
        found.append((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))
    assert correlation_within(a, b, group, 4000)[1:] == pytest.approx(np.quantile(found, [0.025, 0.975]), abs=0.02)


def test_interval_holds_zero_at_the_stated_rate_when_nothing_is_there():
    missed = 0
    for seed in range(200):
        _, low, high = correlation_within(*grouped(40, 4, within=0.0, between=0.5, seed=seed), num_resamples=400)
        missed += not low <= 0 <= high
    assert missed <= 20  # 5% of 200 are 10, with a deviation of 3


def test_nothing_is_known_when_one_does_not_vary_within_any_group():
    group = torch.tensor([0, 0, 1, 1])
    assert correlation_within(torch.tensor([0.1, 0.1, 0.3, 0.3]), torch.arange(4.0), group) == (0.0, -1.0, 1.0)
    with pytest.raises(ValueError, match="its partner and its group"):
        correlation_within(torch.zeros(3), torch.zeros(4), group)
