from __future__ import annotations

import pytest
import torch

from stages.objectives.calibration import brier, ece, negative_log_likelihood, pair_accuracy, wilson

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


@pytest.mark.parametrize("measure", [pair_accuracy, brier, ece, negative_log_likelihood])
def test_measures_refuse_to_measure_nothing(measure):
    with pytest.raises(ValueError, match="nothing to measure"):
        measure(torch.ones(0), torch.ones(0))


@pytest.mark.parametrize(("successes", "n"), [(8, 10), (0, 5), (5, 5), (726, 1000)])
def test_wilson_equals_scipys(successes, n):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_matches_a_published_interval():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_counts_that_cannot_be(successes, n):
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)
