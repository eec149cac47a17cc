from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from stages.objectives.advantages import gae, grpo, rewards_with_kl, rloo


def test_rewards_match_golden(example):
    kl = example.logprobs - example.ref_logprobs
    rewards = rewards_with_kl(example.scores, kl, example.mask, 0.05)
    expected = [-0.01, 0.005, 0.025, 1.99, -0.01, 0.01, -1]
    assert rewards[example.mask].tolist() == pytest.approx(expected, abs=1e-12)
    assert rewards[~example.mask].tolist() == [0, 0, 0]


def test_score_lands_on_the_last_token_when_the_answer_fills_its_row_or_is_one_token():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    rewards = rewards_with_kl(torch.tensor([1.0, 2.0]), torch.zeros(2, 3), mask, 0.05)
    assert rewards.tolist() == [[0, 0, 1], [2, 0, 0]]


def test_rewards_refuse_an_answer_without_a_token():
    with pytest.raises(ValueError, match="no True slot"):
        rewards_with_kl(torch.ones(1), torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), 0.05)


@pytest.mark.parametrize("garbage", [1e6, float("nan")])
def test_rewards_ignore_what_masked_slots_hold(example, garbage):
    kl = (example.logprobs - example.ref_logprobs).masked_fill(~example.mask, garbage)
    assert rewards_with_kl(example.scores, kl, example.mask, 0.05).isfinite().all()


@pytest.mark.parametrize(
    ("gamma", "lam", "expected"),
    [
        (1.0, 0.95, [1.31711375, 1.502225, 1.3655, 0.99, -1.03675, -0.765, -0.5]),
        (0.9, 0.8, [0.492395520, 0.892216, 1.0378, 0.99, -0.722, -0.6, -0.5]),
        (1.0, 1.0, [1.51, 1.62, 1.415, 0.99, -1.1, -0.79, -0.5]),
    ],
)
def test_gae_matches_golden(example, gamma, lam, expected):
    advantages, returns = gae(example.rewards, example.values, example.mask, gamma, lam)
    assert advantages[example.mask].tolist() == pytest.approx(expected, abs=1e-9)
    assert advantages[~example.mask].tolist() == returns[~example.mask].tolist() == [0, 0, 0]


def test_gae_returns_match_golden(example):
    _, returns = gae(example.rewards, example.values, example.mask, 1.0, 0.95)
    expected = [1.81711375, 1.902225, 1.9655, 1.99, -0.93675, -0.965, -1]
    assert returns[example.mask].tolist() == pytest.approx(expected, abs=1e-9)


def slow_gae(rewards, values, length, gamma, lam):
    """The definition: A_t is the sum over l of (gamma lam)^l delta_{t+l}, one answer at a time."""
    following = np.append(values[1:length], 0.0)
    delta = rewards[:length] + gamma * following - values[:length]
    return [sum((gamma * lam) ** (s - t) * delta[s] for s in range(t, length)) for t in range(length)]


@pytest.mark.parametrize("garbage", [9.9, 1e6, float("nan")])
@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (0.99, 0.0)])
def test_gae_equals_the_slow_sum_when_lengths_differ(gamma, lam, garbage):
    rng = np.random.default_rng(0)
    rewards, values, lengths = rng.normal(size=(5, 8)), rng.normal(size=(5, 8)), [8, 1, 5, 7, 2]
    mask = np.arange(8) < np.array(lengths)[:, None]
    inputs = [torch.from_numpy(np.where(mask, x, garbage)) for x in (rewards, values)]
    advantages, _ = gae(*inputs, torch.from_numpy(mask), gamma, lam)
    for row, length in enumerate(lengths):
        expected = slow_gae(rewards[row], values[row], length, gamma, lam)
        assert advantages[row, :length].tolist() == pytest.approx(expected, abs=1e-12)


def test_gae_is_monte_carlo_when_lambda_is_one(example):
    _, returns = gae(example.rewards, example.values, example.mask, 1.0, 1.0)
    to_go = [2.01, 2.02, 2.015, 1.99, -1.0, -0.99, -1.0]
    assert returns[example.mask].tolist() == pytest.approx(to_go, abs=1e-12)


def test_gae_is_the_one_step_error_when_lambda_is_zero(example):
    advantages, _ = gae(example.rewards, example.values, example.mask, 1.0, 0.0)
    assert advantages[1, :3].tolist() == pytest.approx([-0.01 - 0.2 - 0.1, 0.01 - 0.5 + 0.2, -1 + 0.5])


def test_gae_keeps_advantages_when_scores_and_values_shift_together(example):
    before, returns = gae(example.rewards, example.values, example.mask, 1.0, 0.95)
    shifted = rewards_with_kl(example.scores + 7, example.logprobs - example.ref_logprobs, example.mask, 0.05)
    after, shifted_returns = gae(shifted, example.values + 7, example.mask, 1.0, 0.95)
    assert_close(after, before)
    assert_close(shifted_returns[example.mask], returns[example.mask] + 7)


def test_gae_gives_zero_when_there_is_neither_score_nor_penalty_nor_value(example):
    zeros = torch.zeros_like(example.values)
    rewards = rewards_with_kl(torch.zeros(2), example.logprobs, example.mask, 0.0)
    assert torch.count_nonzero(gae(rewards, zeros, example.mask, 1.0, 0.95)[0]) == 0


def test_gae_does_not_change_when_padding_is_wider_or_on_the_left(example):
    expected = gae(example.rewards, example.values, example.mask, 1.0, 0.95)[0][example.mask]
    for pads in ((0, 3), (2, 0)):
        padded = [torch.nn.functional.pad(x, pads, value=9.9) for x in (example.rewards, example.values)]
        mask = torch.nn.functional.pad(example.mask, pads, value=False)
        assert_close(gae(*padded, mask, 1.0, 0.95)[0][mask], expected)


def test_gae_permutes_with_the_batch(example):
    rewards, values, mask = (x.flip(0) for x in (example.rewards, example.values, example.mask))
    assert_close(gae(rewards, values, mask, 1.0, 0.95)[0].flip(0)[example.mask], example.advantages[example.mask])


def test_gae_lets_no_gradient_through(example):
    advantages, returns = gae(example.rewards, example.values.requires_grad_(), example.mask, 1.0, 0.95)
    assert not advantages.requires_grad and not returns.requires_grad


def test_rloo_subtracts_the_mean_of_the_others():
    scores = torch.tensor([[1.0, 2.0, 6.0], [0.0, 0.0, 3.0]])
    assert rloo(scores).tolist() == [[-3.0, -1.5, 4.5], [-1.5, -1.5, 3.0]]


def test_grpo_standardises_within_each_prompt():
    scores = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]], dtype=torch.float64)
    assert_close(grpo(scores, eps=0.0), torch.tensor([[-1.0, 0.0, 1.0]] * 2, dtype=torch.float64))


@pytest.mark.parametrize("baseline", [rloo, grpo])
def test_group_baselines_give_zero_when_all_answers_score_the_same(baseline):
    assert torch.count_nonzero(baseline(torch.full((2, 4), 3.0))) == 0


@pytest.mark.parametrize("baseline", [rloo, grpo])
def test_group_baselines_refuse_a_single_answer(baseline):
    with pytest.raises(ValueError, match="two answers"):
        baseline(torch.ones(3, 1))
