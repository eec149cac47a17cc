from __future__ import annotations

import pytest
import torch

from stages.objectives.masked import masked_mean, masked_var, rescale, standardize


def test_masked_mean_and_var_match_golden(example):
    assert masked_mean(example.advantages, example.mask).item() == pytest.approx(0.41044125, abs=1e-12)
    assert masked_var(example.advantages, example.mask).item() == pytest.approx(1.0810000365, abs=1e-10)


def test_masked_mean_and_var_match_golden_when_given_rewards(example):
    assert masked_mean(example.rewards, example.mask).item() == pytest.approx(0.1442857143, abs=1e-10)
    assert masked_var(example.rewards, example.mask).item() == pytest.approx(0.6879030612, abs=1e-10)


def test_masked_mean_reduces_each_row_when_given_a_dim(example):
    assert masked_mean(example.values, example.mask, dim=-1).tolist() == pytest.approx([0.625, -0.2])


def test_masked_mean_refuses_an_empty_mask():
    with pytest.raises(ValueError, match="no True slot"):
        masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool))


def test_masked_mean_refuses_an_empty_row_when_given_a_dim():
    with pytest.raises(ValueError, match="no True slot"):
        masked_mean(torch.ones(2, 2), torch.tensor([[True, True], [False, False]]), dim=1)


def test_masked_mean_refuses_a_mask_that_would_broadcast():
    with pytest.raises(ValueError, match="differ in shape"):
        masked_mean(torch.ones(2, 3), torch.ones(3, dtype=torch.bool))


@pytest.mark.parametrize("garbage", [1e6, float("nan"), float("inf")])
def test_masked_mean_gives_no_value_and_no_gradient_to_masked_slots(garbage):
    values = torch.tensor([1.0, 3.0, garbage], requires_grad=True)
    mean = masked_mean(values, torch.tensor([1, 1, 0]))
    mean.backward()
    assert mean.item() == 2.0
    assert values.grad.tolist() == [0.5, 0.5, 0.0]


def test_standardize_matches_golden(example):
    whitened = standardize(example.advantages, example.mask)
    expected = [0.87204237, 1.05008334, 0.91858052, 0.55742265, -1.39191614, -1.13054557, -0.87566717]
    assert whitened[example.mask].tolist() == pytest.approx(expected, abs=1e-8)
    assert whitened[~example.mask].tolist() == [0, 0, 0]


def test_standardize_gives_zeros_when_all_values_are_equal():
    assert standardize(torch.full((4,), 3.0), torch.ones(4)).tolist() == [0, 0, 0, 0]


def test_rescale_matches_golden_and_keeps_the_mean(example):
    scaled = rescale(example.rewards, example.mask)
    expected = [-0.04173534, -0.02364996, 0.00046388, 2.36964864, -0.04173534, -0.01762150, -1.23537041]
    assert scaled[example.mask].tolist() == pytest.approx(expected, abs=1e-8)
    assert scaled[example.mask].mean().item() == pytest.approx(0.1442857143, abs=1e-9)
    assert scaled[~example.mask].tolist() == [0, 0, 0]


@pytest.mark.parametrize("transform", [standardize, rescale])
@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_whitening_ignores_what_masked_slots_hold(example, transform, garbage):
    other = example.rewards.masked_fill(~example.mask, garbage)
    assert torch.equal(transform(example.rewards, example.mask), transform(other, example.mask))
