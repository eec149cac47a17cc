"""Macro F1: worked by hand, against a slow reference, and its intervals."""

from __future__ import annotations

import random

import pytest
import torch

from stages.objectives.classification import macro_f1, macro_f1_difference, macro_f1_interval

WANTED = ["a", "a", "a", "b", "b", "c"]
GIVEN = ["a", "a", "b", "b", None, "d"]


def slow_macro_f1(given: list[object], wanted: list[str]) -> float:
    """From precision and recall, label by label."""
    scores = []
    for label in sorted(set(wanted)):
        hits = sum(g == w == label for g, w in zip(given, wanted, strict=True))
        precision = hits / sum(g == label for g in given) if label in given else 0.0
        recall = hits / sum(w == label for w in wanted)
        scores.append(2 * precision * recall / (precision + recall) if hits else 0.0)
    return sum(scores) / len(scores)


def test_golden_value() -> None:
    # a: precision 2/2, recall 2/3, F1 4/5. b: precision 1/2, recall 1/2, F1 1/2. c: 0. "d" is wanted nowhere.
    assert macro_f1(GIVEN, WANTED) == pytest.approx((4 / 5 + 1 / 2 + 0) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_it_equals_a_slow_reference(seed: int) -> None:
    draw = random.Random(seed)
    wanted = [draw.choice("abcdefg") for _ in range(60)]
    given = [w if draw.random() < 0.6 else draw.choice([*"abcdefgh", None]) for w in wanted]
    assert macro_f1(given, wanted) == pytest.approx(slow_macro_f1(given, wanted))


def test_limits() -> None:
    assert macro_f1(WANTED, WANTED) == 1
    assert macro_f1([None] * 6, WANTED) == 0
    assert macro_f1_interval(WANTED, WANTED) == (1, 1, 1)
    assert macro_f1_difference(GIVEN, GIVEN, WANTED) == (0, 0, 0)
    assert macro_f1_difference(WANTED, [None] * 6, WANTED) == (1, 1, 1)


def test_names_and_order_do_not_matter() -> None:
    other = {"a": 3, "b": 1, "c": 2, "d": 0, None: None}
    turned = macro_f1([other[g] for g in reversed(GIVEN)], [other[w] for w in reversed(WANTED)])
    assert turned == pytest.approx(macro_f1(GIVEN, WANTED))


def test_interval_repeats_and_has_the_spread_of_slow_resampling() -> None:
    draw = random.Random(3)
    wanted = [draw.choice("abc") for _ in range(90)]
    given = [w if draw.random() < 0.7 else draw.choice("abc") for w in wanted]
    value, low, high = macro_f1_interval(given, wanted)
    assert (value, low, high) == macro_f1_interval(given, wanted)
    slow = []
    for _ in range(1500):
        drawn = [draw.randrange(90) for _ in range(90)]
        slow.append(slow_macro_f1([given[i] for i in drawn], [wanted[i] for i in drawn]))
    slow.sort()
    assert (low, high) == pytest.approx((slow[37], slow[1462]), abs=0.015)


def test_paired_difference_is_narrower_than_two_intervals() -> None:
    draw = random.Random(4)
    wanted = [draw.choice("abc") for _ in range(200)]
    one = [w if draw.random() < 0.7 else draw.choice("abc") for w in wanted]
    other = [w if draw.random() < 0.3 else g for g, w in zip(one, wanted, strict=True)]
    value, low, high = macro_f1_difference(other, one, wanted)
    assert value == pytest.approx(macro_f1(other, wanted) - macro_f1(one, wanted))
    assert 0 < low < value < high
    _, alone_low, alone_high = macro_f1_interval(one, wanted)
    assert high - low < alone_high - alone_low


def test_interval_covers_the_true_value_at_about_its_rate() -> None:
    """Two labels, each right with probability 0.8: F1 of each is 0.8, and so is their mean."""
    generator = torch.Generator().manual_seed(0)
    covered, trials = 0, 300
    for trial in range(trials):
        wanted = torch.randint(2, (150,), generator=generator)
        wrong = (torch.rand(150, generator=generator) > 0.8).long()
        _, low, high = macro_f1_interval((wanted ^ wrong).tolist(), wanted.tolist(), num_resamples=300, seed=trial)
        covered += low <= 0.8 <= high
    # three standard deviations of a share of so many trials, and 1 % for the percentile interval itself
    assert covered / trials > 0.94 - 3 * (0.95 * 0.05 / trials) ** 0.5


@pytest.mark.parametrize(("given", "wanted"), [([], []), (["a"], ["a", "b"])])
def test_without_questions_or_with_others_it_raises(given: list[str], wanted: list[str]) -> None:
    with pytest.raises(ValueError, match="macro F1 needs questions"):
        macro_f1(given, wanted)
