from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from stages.objectives.logprobs import ROWS_A_CHUNK, scored_logprobs, scored_logprobs_and_entropy, selective_logprobs

LOGITS = torch.tensor([2.0, 1.0, 0.0, -1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [
        (1.0, [-0.4401897, -1.4401897, -2.4401897, -3.4401897]),
        (0.7, [-0.2706738, -1.6992452, -3.1278167, -4.5563881]),
    ],
)
def test_selective_logprobs_matches_golden(temperature, expected):
    logprobs = selective_logprobs(LOGITS.expand(1, 4, 4), torch.arange(4)[None], temperature)
    assert logprobs[0].tolist() == pytest.approx(expected, abs=1e-7)


def test_selective_logprobs_equals_log_softmax_when_rows_fill_several_chunks():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, ROWS_A_CHUNK - 1, 7, generator=generator)
    targets = torch.randint(7, logits.shape[:2], generator=generator)
    expected = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
    assert_close(selective_logprobs(logits, targets), expected)


def test_selective_logprobs_upcasts_when_logits_are_bfloat16():
    logits = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.arange(10).view(2, 5)
    logprobs = selective_logprobs(logits, targets)
    assert logprobs.dtype == torch.float32
    assert_close(logprobs, selective_logprobs(logits.float(), targets))


def test_selective_logprobs_does_not_change_when_all_logits_shift():
    targets = torch.arange(4)[None]
    logits = LOGITS.expand(1, 4, 4)
    assert_close(selective_logprobs(logits + 100, targets), selective_logprobs(logits, targets))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_logprobs_refuse_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature"):
        selective_logprobs(LOGITS.expand(1, 4, 4), torch.arange(4)[None], temperature)


def head(num_rows: int, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    hidden, weight = (torch.randn(n, 6, generator=generator, dtype=dtype) for n in (num_rows, 50))
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(50, (num_rows,), generator=generator)


@pytest.mark.parametrize("chunk", [1, 4, 512])
def test_scored_logprobs_equals_the_full_head(chunk):
    hidden, weight, targets = head(10)
    full = torch.distributions.Categorical(logits=(hidden @ weight.T) / 0.7)
    logprobs, entropy = scored_logprobs_and_entropy(hidden, weight, targets, 0.7, chunk)
    assert_close(scored_logprobs(hidden, weight, targets, 0.7, chunk), full.log_prob(targets))
    assert_close(logprobs, full.log_prob(targets).detach())
    assert_close(entropy, full.entropy().detach())


@pytest.mark.parametrize("learning", ["hidden", "weight", "both"])
def test_scored_logprobs_has_numerical_gradients_when_some_inputs_learn(learning):
    hidden, weight, targets = head(5, torch.float64)
    hidden.requires_grad_(learning != "weight")
    weight.requires_grad_(learning != "hidden")
    assert torch.autograd.gradcheck(lambda h, w: scored_logprobs(h, w, targets, 0.7, chunk=2), (hidden, weight))


def test_scored_logprobs_keeps_no_logits_for_the_backward_pass():
    hidden, weight, targets = head(400)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        logprobs = scored_logprobs(hidden, weight, targets, 1.0, chunk=16)
    logprobs.sum().backward()
    assert max(kept) == hidden.numel()  # a chunk of logits has 800
    assert hidden.grad is not None


def test_scored_logprobs_gives_nothing_when_no_token_is_scored():
    hidden, weight, targets = head(0)
    assert scored_logprobs(hidden, weight, targets, 1.0).shape == (0,)


@pytest.mark.parametrize(("temperature", "chunk"), [(0.0, 4), (1.0, 0)])
def test_scored_logprobs_refuses_settings_that_cannot_work(temperature, chunk):
    with pytest.raises(ValueError, match="must be positive"):
        scored_logprobs(*head(3), temperature, chunk)


def test_scored_logprobs_works_when_states_and_head_differ_in_dtype():
    hidden, weight, targets = head(10)
    logprobs = scored_logprobs(hidden, weight.bfloat16(), targets, 1.0)
    logprobs.sum().backward()
    assert logprobs.dtype == hidden.grad.dtype == torch.float32


def test_logprob_gradient_raises_the_target_and_lowers_the_rest():
    logits = torch.zeros(1, 1, 4, requires_grad=True)
    selective_logprobs(logits, torch.tensor([[2]])).sum().backward()
    assert logits.grad[0, 0].tolist() == [-0.25, -0.25, 0.75, -0.25]
