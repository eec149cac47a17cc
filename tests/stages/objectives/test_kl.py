from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from stages.objectives.kl import AdaptiveKL, FixedKL, exact_kl, kl_k1, kl_k2, kl_k3
from stages.objectives.masked import masked_mean

# The four-armed bandit: J(pi) = E r - beta KL(pi || ref), whose optimum is known.
BETA, BEST = 0.5, 0.6219556637
REWARDS = torch.tensor([1.0, 0.0, 0.0, -1.0], dtype=torch.float64)
REF = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
OPTIMUM = [0.85197162, 0.08647637, 0.05765091, 0.00390110]


def objective(logp):
    return float((logp.exp() * REWARDS).sum() - BETA * exact_kl(logp, REF))


def train(penalty, where):
    """Follow the exact expected gradient that a policy-gradient step has with the penalty in the reward or the loss."""
    logits = REF.clone().requires_grad_()
    adam = torch.optim.Adam([logits], lr=0.05)
    for _ in range(1500):
        logp = logits.log_softmax(-1)
        cost = penalty(logp, REF)
        reward = REWARDS - BETA * cost.detach() if where == "reward" else REWARDS
        loss = -(logp.exp() * reward).sum()
        if where == "loss":
            loss = loss + BETA * (logp.exp().detach() * cost).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return logits.detach().log_softmax(-1)


def test_k1_matches_golden(example):
    kl = kl_k1(example.logprobs, example.ref_logprobs)
    assert kl[example.mask].tolist() == pytest.approx([0.2, -0.1, -0.5, 0.2, 0.2, -0.2, 0])
    assert kl.masked_fill(~example.mask, 0).sum(-1).tolist() == pytest.approx([-0.2, 0])
    assert kl.masked_fill(~example.mask, 0).sum(-1).mean().item() == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("estimator", "expected"), [(kl_k1, 0.0071428571), (kl_k2, 0.0673214286), (kl_k3, 0.0665825704)]
)
def test_approximate_kl_of_an_update_matches_golden(example, estimator, expected):
    kl = estimator(example.logprobs, example.new_logprobs)
    assert masked_mean(kl, example.mask).item() == pytest.approx(expected, abs=1e-10)


NEAR = (0.5, 0.3, 0.2), (0.4, 0.4, 0.2)
FAR = (0.9, 0.05, 0.05), (0.1, 0.3, 0.6)


@pytest.mark.parametrize(
    ("pair", "estimator", "mean", "std"),
    [
        (NEAR, kl_k1, 0.0252671539, 0.2215545),
        (NEAR, kl_k2, 0.0248624073, 0.0143347),
        (NEAR, kl_k3, 0.0252671539, 0.0159560),
        (FAR, kl_k1, 1.7636688137, 1.305),
        (FAR, kl_k2, 2.4071372, 0.235),
        (FAR, kl_k3, 1.7636688137, 1.603),
    ],
)
def test_estimators_have_the_golden_mean_and_spread_under_the_policy(pair, estimator, mean, std):
    p, q = (torch.tensor(x, dtype=torch.float64) for x in pair)
    kl = estimator(p.log(), q.log())
    expectation = (p * kl).sum()
    assert expectation.item() == pytest.approx(mean, abs=5e-8)
    assert (p * (kl - expectation) ** 2).sum().sqrt().item() == pytest.approx(std, abs=5e-4)


@pytest.mark.parametrize(("pair", "expected"), [(NEAR, 0.0252671539), (FAR, 1.7636688137)])
def test_exact_kl_matches_golden(pair, expected):
    p, q = (torch.tensor(x, dtype=torch.float64).log() for x in pair)
    assert exact_kl(p, q).item() == pytest.approx(expected, abs=1e-10)


def test_exact_kl_counts_nothing_where_the_policy_has_no_mass():
    one_hot, coin = torch.tensor([1.0, 0.0]).log(), torch.tensor([0.5, 0.5]).log()
    assert exact_kl(one_hot, coin).item() == pytest.approx(0.6931472)
    assert exact_kl(coin, one_hot).item() == float("inf")


@pytest.mark.parametrize("estimator", [kl_k1, kl_k2, kl_k3])
def test_kl_is_exactly_zero_when_policy_is_reference(example, estimator):
    assert torch.count_nonzero(estimator(example.logprobs, example.logprobs)) == 0


def test_k3_is_never_negative_though_k1_is(example):
    assert (kl_k3(example.logprobs, example.ref_logprobs) >= 0).all()


@pytest.mark.parametrize(("logp", "expected"), [(REF, 0.3), (torch.tensor(OPTIMUM, dtype=torch.float64).log(), BEST)])
def test_bandit_objective_matches_golden(logp, expected):
    assert objective(logp) == pytest.approx(expected, abs=1e-7)


def test_bandit_optimum_has_golden_kl():
    assert exact_kl(torch.tensor(OPTIMUM, dtype=torch.float64).log(), REF).item() == pytest.approx(0.45222972, abs=1e-7)


@pytest.mark.parametrize("seed", range(5))
def test_bandit_gap_is_beta_times_the_kl_to_the_optimum(seed):
    logp = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).log_softmax(-1)
    best = (REF + REWARDS / BETA).log_softmax(-1)
    assert BEST - objective(logp) == pytest.approx(BETA * exact_kl(logp, best).item(), abs=1e-9)


@pytest.mark.parametrize(("penalty", "where"), [(kl_k1, "reward"), (kl_k2, "loss")])
def test_penalty_leads_to_the_optimum_when_it_is_where_it_belongs(penalty, where):
    assert train(penalty, where).exp().tolist() == pytest.approx(OPTIMUM, abs=1e-4)


def test_k3_as_a_loss_leads_to_the_forward_kls_optimum():
    assert train(kl_k3, "loss").exp().tolist() == pytest.approx([0.7789, 0.1194, 0.0796, 0.0222], abs=2e-4)


@pytest.mark.parametrize(("penalty", "where"), [(kl_k2, "reward"), (kl_k3, "reward"), (kl_k1, "loss")])
def test_penalty_collapses_the_policy_when_it_is_where_it_does_not_belong(penalty, where):
    assert BEST - objective(train(penalty, where)) == pytest.approx(0.080, abs=2e-3)


@pytest.mark.parametrize(("kl", "expected"), [(3, 0.148464), (6 * 0.8, 0.148464), (7, 0.15128), (20, 0.151536)])
def test_adaptive_kl_moves_towards_the_target(kl, expected):
    assert AdaptiveKL(0.15, target=6, horizon=1e4).update(kl, 512).coef == pytest.approx(expected, abs=1e-9)


def test_adaptive_kl_follows_the_golden_sequence():
    controller, coefs = AdaptiveKL(0.15, target=6, horizon=1e4), []
    for kl in (3, 6, 7, 20):
        controller = controller.update(kl, 512)
        coefs.append(controller.coef)
    assert coefs == pytest.approx([0.148464, 0.148464, 0.1497308928, 0.1512641371], abs=1e-10)


def test_fixed_kl_stays():
    assert FixedKL(0.05).update(100.0, 512) == FixedKL(0.05)


@pytest.mark.parametrize(("kl", "episodes"), [(float("nan"), 8), (float("inf"), 8), (6.0, 50_000)])
def test_adaptive_kl_refuses_what_would_spoil_the_coefficient(kl, episodes):
    with pytest.raises(ValueError):
        AdaptiveKL(0.15, target=6, horizon=1e4).update(kl, episodes)


@pytest.mark.parametrize(("target", "horizon"), [(0, 1e4), (6, 0)])
def test_adaptive_kl_refuses_a_target_or_horizon_of_zero(target, horizon):
    with pytest.raises(ValueError, match="must be positive"):
        AdaptiveKL(0.15, target=target, horizon=horizon)


def test_k2_has_the_gradient_of_the_exact_kl_on_average():
    logits = torch.tensor([0.3, -0.2, 0.1, 0.5], dtype=torch.float64, requires_grad=True)
    logp = logits.log_softmax(-1)
    on_average = torch.autograd.grad((logp.exp().detach() * kl_k2(logp, REF)).sum(), logits, retain_graph=True)
    assert_close(on_average, torch.autograd.grad(exact_kl(logp, REF), logits))
