from __future__ import annotations

import itertools
import math

import pytest
import torch

from stages.objectives.dpo import LOSSES, cdpo, extra_inputs, implicit_rewards, ipo_sum, length_margin, sigmoid

D = torch.float64
BETA = 0.1
EXTRAS = {
    "lengths_w": torch.tensor([6]),
    "lengths_l": torch.tensor([8]),
    "label_smoothing": 0.1,
    "alpha": 0.05,
}


def logps(policy_w=-12.0, policy_l=-15.0, ref_w=-13.0, ref_l=-14.0):
    return [torch.tensor([value], dtype=D) for value in (policy_w, policy_l, ref_w, ref_l)]


def compute(name, args, beta=BETA):
    return LOSSES[name](*args, beta, **{key: EXTRAS[key] for key in extra_inputs(name)})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", 0.5981388694),
        ("cdpo", 0.6181388694),
        ("robust", 0.5731388694),
        ("hinge", 0.8),
        ("ipo_sum", 9.0),
        ("ipo", 22.1684027778),
        ("sigmoid_norm", 0.6786701803),
        ("apo_zero", 0.9500416250),
        ("apo_down", 0.9751451902),
        ("sppo_hard", 32.0),
        ("nca_pair", 1.3387933201),
        ("bco_pair", 1.2887933201),
        ("length_margin", 0.5543552445),  # softplus(-0.3): 0.2 as for sigmoid, and 0.05 for each of 2 tokens less
    ],
)
def test_loss_matches_golden(name, expected):
    assert compute(name, logps()).tolist() == pytest.approx([expected], abs=1e-10)


def test_sigmoid_gradient_matches_golden():
    args = logps()
    args[0].requires_grad_()
    sigmoid(*args, BETA).sum().backward()
    assert args[0].grad.tolist() == pytest.approx([-0.0450166003], abs=1e-10)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sigmoid", math.log(2)),
        ("sigmoid_norm", math.log(2)),
        ("cdpo", math.log(2)),
        ("robust", math.log(2)),
        ("hinge", 1.0),
        ("ipo", 25.0),  # 1 / (4 beta^2)
        ("ipo_sum", 25.0),
        ("apo_zero", 1.0),
        ("apo_down", 1.0),
        ("sppo_hard", 50.0),
        ("nca_pair", 2 * math.log(2)),
        ("bco_pair", 2 * math.log(2)),
    ],
)
def test_loss_starts_at_its_known_value_when_policy_is_reference(name, expected):
    assert compute(name, logps(-12.0, -15.0, -12.0, -15.0)).tolist() == pytest.approx([expected])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "apo_down"])
def test_gradient_raises_the_winner_and_lowers_the_loser(name):
    args = logps(-12.0, -15.0, -12.0, -15.0)
    args[0].requires_grad_(), args[1].requires_grad_()
    compute(name, args).sum().backward()
    assert args[0].grad.item() < (1e-12 if name == "nca_pair" else 0)
    assert args[1].grad.item() > 0


def test_apo_down_lowers_the_loser_and_does_not_raise_the_winner_when_margin_is_wide():
    args = logps(-12.0, -150.0, -12.0, -50.0)
    args[0].requires_grad_(), args[1].requires_grad_()
    compute("apo_down", args).sum().backward()
    assert args[0].grad.item() > 0
    assert args[1].grad.item() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_loss_sees_only_log_ratios(name):
    shifted = logps(-12.0 + 3, -15.0 - 2, -13.0 + 3, -14.0 - 2)
    assert compute(name, shifted).item() == pytest.approx(compute(name, logps()).item())


@pytest.mark.parametrize("name", LOSSES)
def test_loss_is_unreduced_and_permutes_with_the_batch(name):
    generator = torch.Generator().manual_seed(0)
    args = list(torch.randn(4, 5, generator=generator, dtype=D) * 3)
    lengths = torch.randint(1, 9, (2, 5), generator=generator)
    extras = {**EXTRAS, "lengths_w": lengths[0], "lengths_l": lengths[1]}
    used = {key: extras[key] for key in extra_inputs(name)}
    flipped = {key: value.flip(0) if isinstance(value, torch.Tensor) else value for key, value in used.items()}
    losses = LOSSES[name](*args, BETA, **used)
    assert losses.shape == (5,)
    assert LOSSES[name](*[x.flip(0) for x in args], BETA, **flipped).flip(0).tolist() == pytest.approx(losses.tolist())


def test_extra_inputs_names_what_a_loss_reads_beyond_the_common_five():
    assert extra_inputs("sigmoid") == ()
    assert extra_inputs("cdpo") == ("label_smoothing",)
    assert extra_inputs("length_margin") == ("lengths_w", "lengths_l", "alpha")


@pytest.mark.parametrize("name", ["cdpo", "robust"])
@pytest.mark.parametrize("label_smoothing", [-0.1, 0.5])
def test_loss_refuses_a_smoothing_outside_its_range(name, label_smoothing):
    with pytest.raises(ValueError, match="label_smoothing"):
        LOSSES[name](*logps(), BETA, label_smoothing=label_smoothing)


@pytest.mark.parametrize("name", ["cdpo", "robust"])
def test_loss_is_dpo_when_no_label_is_believed_wrong(name):
    assert LOSSES[name](*logps(), BETA, label_smoothing=0.0).item() == pytest.approx(0.5981388694, abs=1e-10)


def test_length_margin_is_dpo_when_alpha_is_zero():
    lengths = {"lengths_w": torch.tensor([6]), "lengths_l": torch.tensor([8])}
    assert length_margin(*logps(), BETA, **lengths, alpha=0.0).item() == pytest.approx(0.5981388694, abs=1e-10)


def test_length_margin_asks_more_of_a_longer_winner():
    longer, shorter = torch.tensor([20]), torch.tensor([5])
    more = length_margin(*logps(), BETA, lengths_w=longer, lengths_l=shorter, alpha=0.05)
    less = length_margin(*logps(), BETA, lengths_w=shorter, lengths_l=longer, alpha=0.05)
    assert more > less


def test_implicit_rewards_are_scaled_log_ratios_without_gradient():
    args = [x.requires_grad_() for x in logps()]
    reward_w, reward_l = implicit_rewards(*args, BETA)
    assert (reward_w.item(), reward_l.item()) == pytest.approx((0.1, -0.1))
    assert not reward_w.requires_grad and not reward_l.requires_grad


def slope(loss, difference, share=1.0, **options):
    """Slope of the expected loss in the log-ratio difference, when the first arm wins this share of the labels."""
    delta, zero = torch.tensor([difference], dtype=D, requires_grad=True), torch.zeros(1, dtype=D)
    right, wrong = (loss(*pair, zero, zero, **options) for pair in ((delta, zero), (zero, delta)))
    (share * right + (1 - share) * wrong).sum().backward()
    return delta.grad.item()


SURE = 0.7310585786300049  # sigmoid(1): arm 1 is one unit of reward better


@pytest.mark.parametrize(
    ("loss", "share", "optimum", "options"),
    [
        (sigmoid, SURE, 10.0, {"beta": 0.1}),
        (cdpo, SURE, 7.7613659, {"beta": 0.1, "label_smoothing": 0.1}),
        (ipo_sum, SURE, 2.3105858, {"beta": 0.1}),
        (cdpo, 1.0, 21.972, {"beta": 0.1, "label_smoothing": 0.1}),
    ],
)
def test_two_armed_loss_is_least_at_the_known_difference(loss, share, optimum, options):
    assert slope(loss, optimum - 1e-3, share, **options) < 0 < slope(loss, optimum + 1e-3, share, **options)


def test_dpo_never_stops_when_labels_are_deterministic_though_cdpo_does():
    assert slope(sigmoid, 100.0, beta=0.1) < 0
    assert slope(cdpo, 100.0, beta=0.1, label_smoothing=0.1) > 0


def test_dpo_reaches_the_bandits_optimum_and_the_least_loss_when_trained_on_all_pairs():
    rewards = torch.tensor([1.0, 0.0, 0.0, -1.0], dtype=D)
    ref = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=D).log()
    first, second = torch.tensor(list(itertools.combinations(range(4), 2))).T
    share = torch.sigmoid(rewards[first] - rewards[second])
    logits = ref.clone().requires_grad_()
    solver = torch.optim.LBFGS([logits], max_iter=200, tolerance_grad=1e-12, tolerance_change=1e-14)

    def loss():
        logp = logits.log_softmax(-1)
        right = sigmoid(logp[first], logp[second], ref[first], ref[second], 0.5)
        wrong = sigmoid(logp[second], logp[first], ref[second], ref[first], 0.5)
        return (share * right + (1 - share) * wrong).mean()

    def closure():
        solver.zero_grad()
        value = loss()
        value.backward()
        return value

    assert loss().item() == pytest.approx(math.log(2))
    solver.step(closure)
    assert logits.softmax(-1).tolist() == pytest.approx([0.85197162, 0.08647637, 0.05765091, 0.00390110], abs=1e-6)
    # The mean entropy of the labels, (4 H(1) + H(2) + H(0)) / 6: no policy can do better.
    assert loss().item() == pytest.approx(0.5645489119, abs=1e-9)
