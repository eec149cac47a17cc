from __future__ import annotations

import math

import pytest
import torch

from stages.objectives.calibration import (
    agreement_ceiling,
    brier,
    ece,
    ece_by_chance,
    fit_temperature,
    negative_log_likelihood,
    pair_accuracy,
)

CONFIDENCE = torch.tensor([0.55, 0.62, 0.71, 0.77, 0.83, 0.91, 0.95, 0.97], dtype=torch.float64)
CORRECT = torch.tensor([1, 0, 1, 1, 1, 0, 1, 1])


def test_calibration_figures_match_golden():
    assert ece(CONFIDENCE, CORRECT, bins=5) == pytest.approx(0.32375, abs=1e-12)
    assert brier(CONFIDENCE, CORRECT) == pytest.approx(0.1980375, abs=1e-12)
    assert negative_log_likelihood(CONFIDENCE, CORRECT) == pytest.approx(0.6056629736, abs=1e-10)


def test_ece_is_zero_when_confidence_equals_accuracy_in_each_bin():
    confidence = torch.tensor([0.75] * 4 + [1.0] * 3)
    assert ece(confidence, torch.tensor([1, 1, 1, 0, 1, 1, 1]), bins=10) == pytest.approx(0)


def test_ece_is_the_gap_of_the_means_when_there_is_one_bin():
    assert ece(CONFIDENCE, CORRECT, bins=1) == pytest.approx(0.78875 - 0.75)


def test_ece_refuses_a_confidence_below_a_half():
    with pytest.raises(ValueError, match="outside"):
        ece(torch.tensor([0.4]), torch.tensor([1]))


def test_pair_accuracy_counts_equal_scores_as_half():
    assert pair_accuracy(torch.tensor([2.0, 1.0, 0.0, 5.0]), torch.tensor([1.0, 1.0, 1.0, 0.0])) == 0.625


def test_ece_by_chance_is_the_expected_gap_when_there_is_one_pair():
    # right with 0.7: a gap of 0.3; wrong with 0.3: a gap of 0.7
    assert ece_by_chance(torch.tensor([0.7]), num_draws=20_000) == pytest.approx(0.7 * 0.3 + 0.3 * 0.7, abs=0.01)


def test_ece_by_chance_vanishes_when_pairs_are_many_and_when_the_model_is_sure():
    assert ece_by_chance(torch.full((40_000,), 0.8), num_draws=5) < 0.01
    assert ece_by_chance(torch.ones(3)) == 0


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([1, 1, 1, -1], 1 / math.log(3)),  # right in 3 of 4: sigmoid(1 / T) = 3/4
        ([2, 2, 2, -2], 2 / math.log(3)),
        ([0.01, 0.01, -0.01], 0.01 / math.log(2)),
        ([1, -1], math.inf),
        ([-3, 1], math.inf),
        ([1, 2, 0], 0),
    ],
)
def test_fitted_temperature_matches_golden(differences, expected):
    assert fit_temperature(torch.tensor(differences, dtype=torch.float64)) == pytest.approx(expected, rel=1e-9)


def test_fitted_temperature_is_scipys_minimum_of_the_likelihood():
    optimize = pytest.importorskip("scipy.optimize")
    difference = torch.randn(300, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.4

    def loss(temperature):
        return torch.log1p(torch.exp(-difference / temperature)).mean().item()

    expected = optimize.minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    assert fit_temperature(difference) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("agreement", "expected"),
    [(0.68, (0.68, 0.8)), (0.625, (0.625, 0.75)), (1, (1, 1)), (0.5, (0.5, 0.5)), (0.4, (0.5, 0.5))],
)
def test_ceiling_from_agreement_matches_golden(agreement, expected):
    assert agreement_ceiling(agreement) == pytest.approx(expected)


def test_ceiling_holds_the_best_accuracy_of_a_mixture_of_easy_and_hard_pairs():
    majority = [0.95, 0.8, 0.55, 0.55]  # shares of annotators on the majority's side
    agreement = sum(q * q + (1 - q) ** 2 for q in majority) / 4
    low, high = agreement_ceiling(agreement)
    assert low < sum(majority) / 4 < high


def test_ceiling_refuses_what_is_no_share():
    with pytest.raises(ValueError, match="share"):
        agreement_ceiling(1.2)


@pytest.mark.parametrize(
    "measure", [pair_accuracy, brier, ece, negative_log_likelihood, lambda own, _: fit_temperature(own)]
)
def test_measures_refuse_to_measure_nothing(measure):
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(torch.ones(0), torch.ones(0))
