from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from stages.objectives.masked import standardize
from stages.objectives.policy import (
    aggregate_seq_mean_token_mean,
    aggregate_seq_mean_token_sum,
    aggregate_token_mean,
    clip_fraction,
    clipped_policy_loss,
    dual_clip,
    entropy,
    token_mean_over,
)

D = torch.float64


@pytest.fixture
def losses(example):
    return clipped_policy_loss(example.new_logprobs, example.logprobs, example.whitened, 0.2)


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        (aggregate_token_mean, 0.1062080920),
        (aggregate_seq_mean_token_mean, 0.2625497346),
        (aggregate_seq_mean_token_sum, 0.3717283218),
    ],
)
def test_policy_loss_matches_golden(example, losses, aggregate, expected):
    assert aggregate(losses, example.mask).item() == pytest.approx(expected, abs=1e-8)


def test_policy_loss_takes_the_golden_ratios_when_nothing_is_clipped(example):
    ones = torch.ones_like(example.logprobs)
    ratios = -clipped_policy_loss(example.new_logprobs, example.logprobs, ones, clip_range=1e9)
    expected = [1.10517092, 0.67032005, 1.49182470, 1, 1.64872127, 0.95122942, 0.54881164]
    assert ratios[example.mask].tolist() == pytest.approx(expected, abs=1e-8)


def test_clip_fraction_matches_golden(example):
    fraction = clip_fraction(example.new_logprobs, example.logprobs, example.whitened, 0.2, example.mask)
    assert fraction.item() == pytest.approx(2 / 7)


def test_dual_clip_matches_golden():
    ratio, advantages = torch.tensor([5, 5, 0.5, 1.1], dtype=D), torch.tensor([-1, 1, -1, -1], dtype=D)
    loss = clipped_policy_loss(ratio.log(), torch.zeros(4, dtype=D), advantages, 0.2)
    assert loss.tolist() == pytest.approx([5, -1.2, 0.8, 1.1])
    assert dual_clip(loss, advantages, 3.0).tolist() == pytest.approx([3, -1.2, 0.8, 1.1])


def test_dual_clip_refuses_a_bound_inside_the_ratio_range():
    with pytest.raises(ValueError, match="above 1"):
        dual_clip(torch.ones(1), torch.ones(1), 1.0)


def test_first_step_is_on_policy(example):
    whitened = standardize(example.advantages, example.mask)
    loss = clipped_policy_loss(example.logprobs, example.logprobs, whitened, 0.2)
    assert aggregate_token_mean(loss, example.mask).item() == pytest.approx(0, abs=1e-12)
    assert clip_fraction(example.logprobs, example.logprobs, whitened, 0.2, example.mask) == 0


def test_gradient_raises_good_tokens_and_lowers_bad_ones():
    logprobs = torch.zeros(2, dtype=D, requires_grad=True)
    clipped_policy_loss(logprobs, torch.zeros(2, dtype=D), torch.tensor([1.0, -1.0], dtype=D), 0.2).sum().backward()
    assert logprobs.grad.tolist() == [-1, 1]


@pytest.mark.parametrize(
    ("ratio", "advantage", "flows"), [(1.3, 1, False), (1.3, -1, True), (0.7, 1, True), (0.7, -1, False)]
)
def test_gradient_stops_only_where_the_step_would_go_further_out(ratio, advantage, flows):
    logprobs = torch.tensor([ratio], dtype=D).log().requires_grad_()
    clipped_policy_loss(logprobs, torch.zeros(1, dtype=D), torch.tensor([advantage], dtype=D), 0.2).sum().backward()
    assert bool(logprobs.grad.abs() > 0) is flows


def test_policy_loss_stays_finite_when_the_log_ratio_is_huge():
    loss = clipped_policy_loss(torch.tensor([0.0, -500.0]), torch.tensor([-500.0, 0.0]), torch.tensor([-1.0, 1.0]), 0.2)
    assert loss.isfinite().all()


AGGREGATES = [
    aggregate_token_mean,
    aggregate_seq_mean_token_mean,
    aggregate_seq_mean_token_sum,
    lambda losses, mask: token_mean_over(losses, mask, 7),
]


@pytest.mark.parametrize("garbage", [9.9, 1e6, float("nan")])
@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_aggregates_ignore_what_masked_slots_hold(example, losses, aggregate, garbage):
    clean = aggregate(losses.masked_fill(~example.mask, 0), example.mask)
    assert torch.equal(aggregate(losses.masked_fill(~example.mask, garbage), example.mask), clean)


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_aggregates_do_not_change_when_padding_is_wider(example, losses, aggregate):
    wide, mask = (torch.nn.functional.pad(x, (0, 3), value=fill) for x, fill in ((losses, 9.9), (example.mask, False)))
    assert_close(aggregate(wide, mask), aggregate(losses, example.mask))


def test_micro_batches_add_up_to_the_whole_batchs_gradient(example):
    def gradient(rows):
        logprobs = example.new_logprobs.clone().requires_grad_()
        for row in rows:
            loss = clipped_policy_loss(logprobs[row], example.logprobs[row], example.whitened[row], 0.2)
            token_mean_over(loss, example.mask[row], num_tokens=7).backward()
        return logprobs.grad

    assert_close(gradient([slice(0, 1), slice(1, 2)]), gradient([slice(0, 2)]))


def test_token_mean_over_equals_the_token_mean_when_the_batch_is_the_step(example, losses):
    assert_close(token_mean_over(losses, example.mask, 7), aggregate_token_mean(losses, example.mask))


def test_token_mean_over_refuses_a_step_without_tokens(example, losses):
    with pytest.raises(ValueError, match="at least one token"):
        token_mean_over(losses, example.mask, 0)


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 0.9475370), (0.7, 0.7020280)])
def test_entropy_matches_golden(temperature, expected):
    logits = torch.tensor([2, 1, 0, -1], dtype=D)
    assert entropy(logits, temperature).item() == pytest.approx(expected, abs=5e-8)


def test_entropy_is_log_of_the_choices_when_they_are_equal_and_some_are_impossible():
    logits = torch.tensor([3.0, 3.0, float("-inf"), 3.0, 3.0])
    assert entropy(logits).item() == pytest.approx(1.3862944)
