from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from stages.objectives.masked import masked_mean
from stages.objectives.value import (
    clipped_value_loss,
    explained_variance,
    fitted_scale,
    value_clip_fraction,
    value_loss,
)


def test_value_losses_match_golden(example):
    clipped = clipped_value_loss(example.new_values, example.values, example.returns, 0.2)
    unclipped = value_loss(example.new_values, example.returns)
    assert masked_mean(clipped, example.mask).item() == pytest.approx(0.6232600995, abs=1e-10)
    assert masked_mean(unclipped, example.mask).item() == pytest.approx(0.5809139924, abs=1e-10)


def test_value_clip_fraction_matches_golden(example):
    fraction = value_clip_fraction(example.new_values, example.values, example.returns, 0.2, example.mask)
    assert fraction.item() == pytest.approx(2 / 7)


def test_clipped_value_loss_is_the_plain_one_when_the_range_is_wide(example):
    wide = clipped_value_loss(example.new_values, example.values, example.returns, 1e9)
    assert_close(wide, value_loss(example.new_values, example.returns))


def test_value_gradient_points_away_from_the_return():
    values = torch.tensor([0.1, -0.1], requires_grad=True)
    clipped_value_loss(values, torch.zeros(2), torch.tensor([1.0, -1.0]), 0.2).sum().backward()
    assert values.grad.tolist() == pytest.approx([-0.9, 0.9])


def test_value_gradient_stops_when_the_value_has_left_the_range_towards_the_return():
    values = torch.tensor([0.3], requires_grad=True)
    clipped_value_loss(values, torch.zeros(1), torch.tensor([1.0]), 0.2).sum().backward()
    assert values.grad.tolist() == [0]


@pytest.mark.parametrize(
    ("values", "expected"), [([1.0, 2.0, 3.0], 1.0), ([5.0, 5.0, 5.0], 0.0), ([3.0, 2.0, 1.0], -3.0)]
)
def test_explained_variance_is_one_for_a_perfect_and_zero_for_a_constant_critic(values, expected):
    returns, mask = torch.tensor([1.0, 2.0, 3.0, 1e6]), torch.tensor([1, 1, 1, 0])
    assert explained_variance(torch.tensor([*values, -1e6]), returns, mask).item() == pytest.approx(expected, abs=1e-6)


def test_explained_variance_ignores_a_constant_offset(example):
    shifted = explained_variance(example.returns + 4, example.returns, example.mask)
    assert shifted.item() == pytest.approx(1.0)


def test_fitted_scale_is_the_least_squares_line():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    returns = 2 + 0.4 * values + 0.1 * torch.randn(3, 5, generator=generator, dtype=torch.float64)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    returns[~mask] = torch.nan
    line = torch.linalg.lstsq(
        torch.stack([torch.ones(9, dtype=torch.float64), values[mask]], 1), returns[mask]
    ).solution.tolist()
    assert fitted_scale(values, returns, mask) == pytest.approx(line)


@pytest.mark.parametrize(("slope", "held"), [(-0.5, 0.0), (0.0, 0.0), (3.0, 1.0)])
def test_fitted_slope_stays_between_zero_and_one_and_the_mean_is_the_returns(slope: float, held: float):
    values, mask = torch.tensor([[1.0, 2.0, 4.0]]), torch.ones(1, 3, dtype=torch.bool)
    returns = 5 + slope * values
    offset, found = fitted_scale(values, returns, mask)
    assert found == held
    assert offset + found * float(values.mean()) == pytest.approx(float(returns.mean()))


def test_fitted_scale_of_equal_values_is_the_returns_mean():
    values, mask = torch.full((1, 3), 7.0), torch.ones(1, 3, dtype=torch.bool)
    offset, slope = fitted_scale(values, torch.tensor([[1.0, 2.0, 3.0]]), mask)
    assert (offset, slope) == (pytest.approx(2 - 7), 1)
