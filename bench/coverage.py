"""How often an interval of 95% holds the true value: ours, and others' bootstraps, on values whose mean is known.

.venv/bin/python bench/coverage.py [--trials 1000] [--resamples 1000]

`ours` is `bootstrap_ci` (tables resample 10,000 times), and in the rows "as shares" and "right" the interval of shares
that `difference` and `interval` choose for answers that are right or wrong. The others are scipy's.
"""

from __future__ import annotations

import argparse
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import stats

from stages.objectives.comparisons import difference
from stages.objectives.shares import wilson
from stages.objectives.statistics import bootstrap_ci

Interval = tuple[float, float]
Draw = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Case:
    """A distribution of values, its mean, and the interval that a table of ours would show."""

    name: str
    draw: Draw
    mean: float
    ours: Callable[[np.ndarray], Interval] | None = None  # None: bootstrap_ci


def _sparse(n: int, up: float, down: float) -> Draw:
    """Differences of right and wrong answers: most of them none."""
    return lambda generator: generator.choice([1.0, -1.0, 0.0], p=[up, down, 1 - up - down], size=n)


def _two_fields(generator: np.random.Generator) -> np.ndarray:
    return (generator.binomial(2, 0.8, 60) - generator.binomial(2, 0.75, 60)) / 2


def _of_pairs(values: np.ndarray) -> Interval:
    """The interval of a difference of shares, as of two candidates that are right or wrong."""
    return difference((values > 0).astype(float).tolist(), (values < 0).astype(float).tolist())[1:]


def _of_share(values: np.ndarray) -> Interval:
    return wilson(int(values.sum()), len(values))


CASES = (
    Case("10 normal values", lambda g: g.normal(size=10), 0.0),
    Case("30 normal values", lambda g: g.normal(size=30), 0.0),
    Case("60 exponential values", lambda g: g.exponential(size=60), 1.0),
    Case("60 halves: two fields, less two fields", _two_fields, 0.05),
    Case("60 sparse differences, as a bootstrap", _sparse(60, 0.06, 0.04), 0.02),
    Case("60 sparse differences, as shares", _sparse(60, 0.06, 0.04), 0.02, _of_pairs),
    Case("60 answers, 90% right", lambda g: (g.random(60) < 0.9).astype(float), 0.9, _of_share),
)  # fmt: skip
SCIPY = ("percentile", "BCa")


def main() -> int:
    """Print a row a case: the share of trials in which each kind of interval held the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    options = parser.parse_args()
    error = 1.96 * math.sqrt(0.95 * 0.05 / options.trials)
    print(f"{options.trials} trials, {options.resamples} resamples; sampling error +/- {error:.1%}")
    print(f"{'':42}{'ours':>12}{''.join(f'{name:>12}' for name in SCIPY)}{'Student':>12}")
    warnings.simplefilter("ignore")  # BCa on values that are all alike: counted as a miss, below
    for case in CASES:
        shares = _covered(case, options.trials, options.resamples)
        print(f"{case.name:42}{''.join(f'{share:>12.1%}' for share in shares)}", flush=True)
    return 0


def _covered(case: Case, trials: int, resamples: int) -> list[float]:
    kinds: list[Callable[[np.ndarray], Interval]] = [
        case.ours or (lambda values: bootstrap_ci(values.tolist(), resamples)[1:]),
        *((lambda values, method=method: _scipy(values, method, resamples)) for method in SCIPY),
        _student,
    ]
    generator, held = np.random.default_rng(1), [0] * len(kinds)
    for _ in range(trials):
        values = case.draw(generator)
        for place, kind in enumerate(kinds):
            low, high = kind(values)
            held[place] += bool(low <= case.mean + 1e-9 and case.mean - 1e-9 <= high)  # nan holds nothing
    return [count / trials for count in held]


def _scipy(values: np.ndarray, method: str, resamples: int) -> Interval:
    found = stats.bootstrap((values,), np.mean, n_resamples=resamples, method=method, rng=0).confidence_interval
    return float(found.low), float(found.high)


def _student(values: np.ndarray) -> Interval:
    low, high = stats.t.interval(0.95, len(values) - 1, loc=values.mean(), scale=stats.sem(values))
    return float(low), float(high)


if __name__ == "__main__":
    sys.exit(main())
