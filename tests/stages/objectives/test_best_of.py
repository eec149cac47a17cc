from __future__ import annotations

import itertools
import math

import pytest
import torch

from stages.objectives.best_of import best_of, best_of_kl

SCORES = torch.tensor([0.3, -1.0, 2.5, 0.9, -0.2])
GOLD = torch.tensor([0.25, 0.5, 0.0, 1.0, 0.75])


@pytest.mark.parametrize("n", range(1, 6))
def test_best_of_is_the_mean_over_every_draw_of_n(n):
    draws = list(itertools.combinations(range(5), n))
    expected = sum(float(GOLD[max(own, key=lambda i: SCORES[i])]) for own in draws) / len(draws)
    assert best_of(SCORES, GOLD, n) == pytest.approx(expected)


@pytest.mark.parametrize("n", range(1, 5))
def test_best_of_breaks_ties_at_random(n):
    scores, gold = [1.0, 1.0, 0.0, 1.0], [0.0, 0.4, 0.9, 1.0]
    every = [
        sum(gold[i] for i in own if scores[i] == max(scores[j] for j in own))
        / sum(scores[i] == max(scores[j] for j in own) for i in own)
        for own in itertools.combinations(range(4), n)
    ]
    assert best_of(torch.tensor(scores), torch.tensor(gold), n) == pytest.approx(sum(every) / len(every))


def test_best_of_matches_golden():
    assert best_of(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 1.0]), 2) == pytest.approx(2 / 3)
    assert best_of(SCORES, GOLD, 1) == pytest.approx(0.5)
    assert best_of(SCORES, GOLD, 5) == 0.0


@pytest.mark.parametrize(("gold", "n"), [(GOLD, 0), (GOLD, 6), (GOLD[:4], 2)])
def test_best_of_refuses_what_it_cannot_draw(gold, n):
    with pytest.raises(ValueError, match=f"best of {n} needs"):
        best_of(SCORES, gold, n)


def test_best_of_kl_is_the_divergence_of_the_best_of_n_distinct_answers():
    """The best of n of a continuum has density n u^(n - 1) over the quantile u of its score."""
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    for n in (2, 4, 16):
        density = n * u ** (n - 1)
        assert best_of_kl(n) == pytest.approx(float((density * density.log()).mean()), abs=1e-4)
    assert best_of_kl(1) == 0.0
    assert best_of_kl(4) == pytest.approx(math.log(4) - 0.75)
    with pytest.raises(ValueError, match="one answer at least"):
        best_of_kl(0)
