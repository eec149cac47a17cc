"""Comparisons against other libraries, by hand, and by simulation.

1,000 simulated evaluations tell a rate of 0.95 (or 0.05) to three standard errors of 0.0069: 0.021.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from stages.objectives.comparisons import compare, detectable, difference, holm, interval, items_needed, p_value
from stages.objectives.comparisons import sign_flip as flips
from stages.objectives.statistics import bootstrap_ci, paired_bootstrap

NUM, ERROR = 1000, 3 * math.sqrt(0.95 * 0.05 / 1000)
RESAMPLES = 1000
# On 20 of 100 items a alone is right, on 10 b alone.
A, B = [1.0] * 20 + [0.0] * 10 + [1.0] * 70, [0.0] * 20 + [1.0] * 10 + [1.0] * 70


def right_and_wrong(generator: np.random.Generator, n: int, only_a: float, only_b: float) -> tuple[list, list]:
    kind = generator.choice(3, p=[only_a, only_b, 1 - only_a - only_b], size=n)
    both = generator.random(n) < 0.7
    return np.where(kind == 2, both, kind == 0).tolist(), np.where(kind == 2, both, kind == 1).tolist()


@pytest.mark.parametrize(
    ("n", "only_a", "only_b"), [(60, 0.03, 0.02), (60, 0.06, 0.04), (80, 0.2, 0.1), (100, 0.04, 0.03)]
)
def test_interval_covers_when_answers_are_right_and_wrong(n, only_a, only_b):
    generator, covered = np.random.default_rng(0), 0
    for _ in range(NUM):
        _, low, high = difference(*right_and_wrong(generator, n, only_a, only_b))
        covered += low <= only_a - only_b <= high
    assert covered / NUM >= 0.95 - ERROR


def coverage(draw, truth, found=lambda values: bootstrap_ci(values, RESAMPLES)[1:]):
    generator, covered = np.random.default_rng(1), 0
    for _ in range(NUM):
        low, high = found(draw(generator))
        covered += low <= truth + 1e-9 and truth - 1e-9 <= high
    return covered / NUM


def two_fields(generator, n=60):
    """The difference of two label accuracies over two fields: halves."""
    return (generator.binomial(2, 0.8, n) - generator.binomial(2, 0.75, n)) / 2


@pytest.mark.parametrize(
    ("draw", "truth"), [(lambda g: g.normal(size=10), 0.0), (lambda g: g.normal(size=30), 0.0), (two_fields, 0.05)]
)
def test_bootstrap_covers_at_its_rate(draw, truth):
    assert abs(coverage(draw, truth) - 0.95) <= ERROR


def test_bootstrap_covers_when_items_come_in_groups():
    """20 prompts of unequal size whose values share a part."""
    groups = np.repeat(np.arange(20), [1, 2, 3, 4] * 5)

    def found(values):
        return bootstrap_ci(values, RESAMPLES, groups=groups.tolist())[1:]

    assert abs(coverage(lambda g: g.normal(size=20)[groups] + g.normal(size=50), 0.0, found) - 0.95) <= ERROR


def test_plain_percentiles_would_cover_too_rarely():
    """That the checks above can fail."""

    def plain(values):
        draws = np.random.default_rng(0).choice(values, (2000, len(values))).mean(1)
        return np.quantile(draws, [0.025, 0.975])

    assert coverage(lambda g: g.normal(size=10), 0.0, plain) < 0.95 - ERROR


def test_no_winner_is_named_under_the_null_when_answers_are_right_and_wrong():
    """Five candidates against one baseline, all right on the same prompt with the same chance, which differs."""
    generator, named = np.random.default_rng(2), 0
    for _ in range(NUM):
        chance_N = generator.beta(1, 1, 80)
        own_N, *others_N = (generator.random((6, 80)) < chance_N).astype(float).tolist()
        named += any(found.is_told for found in compare([(other, own_N) for other in others_N]))
    assert named / NUM <= 0.05 + ERROR


def test_no_winner_is_named_under_the_null_when_scores_are_continuous_and_would_be_without_correction():
    generator, named, uncorrected = np.random.default_rng(3), 0, 0
    for _ in range(NUM):
        own_N, *others_N = generator.gumbel(size=(6, 40))
        p_values = [flips(other - own_N, num_resamples=499) for other in others_N]
        named += min(holm(p_values)) <= 0.05
        uncorrected += min(p_values) <= 0.05
    assert named / NUM <= 0.05 + ERROR < uncorrected / NUM


def test_difference_is_found_as_often_as_planned():
    n, found, generator = int(items_needed(A, B)), 0, np.random.default_rng(4)
    for _ in range(NUM):
        found += p_value(*right_and_wrong(generator, n, 0.2, 0.1)) <= 0.05
    assert 0.73 <= found / NUM <= 0.83  # McNemar's exact test is a little stricter than the formula's


def test_items_needed_and_detectable_are_those_worked_by_hand():
    # mean 0.1, E[d^2] 0.3: (1.9599640 * 0.5477226 + 0.8416212 * 0.5385165)^2 / 0.01 = 233.09
    assert items_needed(A, B) == 234
    assert detectable(A, B) == pytest.approx(2.8015852 * 0.5385165 / 10)
    assert items_needed(A, A) == math.inf
    assert items_needed([2.0] * 9, [1.0] * 9) == 4  # a steady difference: 1.96^2, what the test itself asks for


def test_items_needed_grow_with_level_and_power():
    assert items_needed(A, B, level=0.99) > items_needed(A, B) < items_needed(A, B, power=0.9)


@pytest.mark.parametrize(
    "p", [[0.01, 0.04, 0.03], [0.5], [0.9, 0.8, 0.02, 0.02], [1.0, 1.0], [0.004, 0.2, 0.011, 0.05]]
)
def test_holm_equals_statsmodels(p):
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_interval_of_a_comparison_is_at_the_level_that_holm_tests_it():
    found = compare([(A, A), (A, B), (A, [0.0] * 100)])
    assert [one.level for one in found] == pytest.approx([0.95, 1 - 0.05 / 2, 1 - 0.05 / 3])
    assert (found[1].low, found[1].high) == difference(A, B, level=0.975)[1:]
    assert [one.is_told for one in found] == [False, False, True]
    assert compare([(A, B)])[0].p == pytest.approx(stats.binomtest(10, 30).pvalue)


def test_sign_flip_agrees_with_scipys_permutation_test():
    d = np.random.default_rng(5).exponential(size=12) - 0.6
    exact = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert flips(d.tolist()) == pytest.approx(exact, abs=3 * math.sqrt(exact / 10_000))


def test_sign_flip_is_mcnemars_when_answers_are_right_and_wrong():
    d = [a - b for a, b in zip(A, B, strict=True)]
    assert flips(d) == pytest.approx(p_value(A, B), abs=0.007)


def test_sign_flip_says_nothing_when_no_item_differs_and_is_never_zero():
    assert flips([0.0, 0.0]) == 1.0
    assert flips([1.0] * 100) == 1 / 10_001
    assert flips([1.0] * 2) == pytest.approx(0.5, abs=0.02)


def test_interval_is_wilsons_of_a_share_and_a_bootstrap_elsewhere():
    expected = stats.binomtest(80, 100).proportion_ci(method="wilson")
    assert interval(B) == pytest.approx((0.8, expected.low, expected.high))
    values = [0.0, 0.5, 1.0, 0.5]
    assert interval(values) == bootstrap_ci(values, 10_000)
    assert difference(values, [0.0] * 4) == paired_bootstrap(values, [0.0] * 4, 10_000)


@pytest.mark.parametrize("compared", [difference, p_value])
def test_comparison_refuses_values_that_are_not_paired(compared):
    with pytest.raises(ValueError):
        compared(A, B[:-1])
    with pytest.raises(ValueError, match="at least one"):
        interval([])
