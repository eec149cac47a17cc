from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm

from stages.objectives.win_rate import length_controlled_win_rate

GENERATOR = np.random.default_rng(0)
LENGTHS = GENERATOR.normal(60, 50, 200).round()
WINS = (GENERATOR.random(200) < 1 / (1 + np.exp(-(-0.4 + 1.5 * np.tanh(LENGTHS / 50))))).astype(float)


@pytest.mark.parametrize("ties", [0, 60])
def test_rate_equals_statsmodels_regression(ties):
    preferences = WINS.copy()
    preferences[:ties] = 0.5
    columns = np.stack([np.ones(200), np.tanh(LENGTHS / LENGTHS.std())], 1)
    theta = sm.GLM(preferences, columns, family=sm.families.Binomial()).fit().params[0]
    rate, low, high = length_controlled_win_rate(preferences.tolist(), LENGTHS.tolist(), num_resamples=200)
    assert rate == pytest.approx(1 / (1 + np.exp(-theta)), abs=2e-4)  # a weak prior apart
    assert low < rate < high


def test_rate_falls_below_a_half_when_only_length_wins():
    """The candidate is worse at equal lengths (sigmoid(-0.4) = 0.40) and wins more often, being longer."""
    rate, low, high = length_controlled_win_rate(WINS, LENGTHS)
    assert WINS.mean() > 0.5 > rate
    assert low < 0.4013 < high


def test_rate_is_the_plain_one_when_lengths_are_equal():
    preferences = [1.0] * 28 + [0.0] * 8 + [0.5] * 4
    rate, low, high = length_controlled_win_rate(preferences, [12] * 40)
    assert rate == pytest.approx(0.75, abs=1e-4)
    plain = np.random.default_rng(0).choice(preferences, (20_000, 40)).mean(1)
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.02)


def test_rates_of_both_sides_add_up_to_one():
    rate, low, high = length_controlled_win_rate(WINS, LENGTHS)
    assert length_controlled_win_rate(1 - WINS, -LENGTHS) == pytest.approx((1 - rate, 1 - high, 1 - low))


@pytest.mark.parametrize("lengths", [np.arange(50), np.zeros(50)])
def test_rate_is_near_one_and_finite_when_every_answer_wins(lengths):
    rate, low, high = length_controlled_win_rate(np.ones(50), lengths, num_resamples=100)
    assert 0.9 < low <= rate <= high <= 1


def test_interval_covers_at_its_rate():
    """300 simulations: 0.95 to three standard errors of 0.0126. The expected rate at equal lengths is 0.6."""
    generator, covered = np.random.default_rng(1), 0
    for seed in range(300):
        lengths = generator.normal(20, 40, 80)
        chance = 1 / (1 + np.exp(-(np.log(0.6 / 0.4) + np.tanh(lengths / lengths.std()))))
        wins = (generator.random(80) < chance).astype(float)
        _, low, high = length_controlled_win_rate(wins, lengths, 200, seed)
        covered += low <= 0.6 <= high
    assert covered / 300 >= 0.95 - 3 * 0.0126


def test_what_cannot_be_a_preference_is_refused():
    with pytest.raises(ValueError, match="one for each"):
        length_controlled_win_rate([1.0], [1, 2])
    with pytest.raises(ValueError, match="outside"):
        length_controlled_win_rate([1.5], [1])
