from __future__ import annotations

import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from stages.objectives.shares import mcnemar, paired_shares, wilson


@pytest.mark.parametrize(("successes", "n"), [(8, 10), (0, 5), (5, 5), (726, 1000)])
def test_wilson_equals_scipys(successes, n):
    expected = stats.binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson(successes, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    expected = stats.binomtest(successes, n).proportion_ci(0.99, method="wilson")
    assert wilson(successes, n, level=0.99) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_matches_a_published_interval():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 2)])
def test_wilson_refuses_counts_that_cannot_be(successes, n):
    with pytest.raises(ValueError, match="successes"):
        wilson(successes, n)


def test_paired_shares_are_those_worked_by_hand():
    # (9 + 1) / 82 - (3 + 1) / 82 = 0.0731707; sqrt((14/82 - 0.0731707^2) / 82) = 0.0449089; times 1.9599640 = 0.0880198
    assert paired_shares(9, 3, 80) == pytest.approx((-0.014849, 0.161190), abs=2e-6)
    # Neither ever differs: 0 +- 1.9599640 * sqrt((2 / 82) / 82) = 0.0338025
    assert paired_shares(0, 0, 80) == pytest.approx((-0.033803, 0.033803), abs=2e-6)


def test_paired_shares_change_sign_when_candidates_swap():
    low, high = paired_shares(7, 2, 30)
    assert paired_shares(2, 7, 30) == (-high, -low)


def test_paired_shares_widen_with_the_level_and_stay_possible():
    (low, high), (lower, higher) = paired_shares(7, 2, 30), paired_shares(7, 2, 30, level=0.999)
    assert lower < low < high < higher
    assert paired_shares(1, 0, 1, level=0.999999)[1] == 1.0


@pytest.mark.parametrize("counts", [(1, 0, 0), (-1, 2, 5), (4, 4, 7)])
def test_paired_shares_refuse_counts_that_cannot_be(counts):
    with pytest.raises(ValueError, match="items"):
        paired_shares(*counts)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (0, 6), (9, 3), (3, 9), (5, 5), (40, 61), (900, 1100)])
def test_mcnemar_equals_statsmodels_and_scipys(only_a, only_b):
    expected = statsmodels_mcnemar([[30, only_a], [only_b, 20]], exact=True).pvalue
    assert mcnemar(only_a, only_b) == pytest.approx(expected, rel=1e-9)
    if only_a + only_b:
        assert mcnemar(only_a, only_b) == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue, rel=1e-9)


def test_mcnemar_is_a_coins_toss_when_worked_by_hand():
    assert mcnemar(5, 0) == 2 / 2**5
    assert mcnemar(1, 4) == 2 * (1 + 5) / 2**5


def test_mcnemar_stays_exact_when_candidates_differ_thousands_of_times():
    assert 0 < mcnemar(1150, 100) < 1e-200
    assert mcnemar(2000, 2100) == pytest.approx(stats.binomtest(2000, 4100).pvalue, rel=1e-9)
    with pytest.raises(ValueError, match="counts"):
        mcnemar(-1, 2)
