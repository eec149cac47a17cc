"""Planted annotators are found: one who always takes the left, one with the scale upside down, one who guesses."""

from __future__ import annotations

import numpy as np
import pytest
from agreement_cases import answer, batch, noisy_ranks, shuffled, tasks

from stages.agreement.dawid_skene import MIN_PAIRS, skills, weights

CAREFUL = ("ann", "ben", "cid")


@pytest.fixture(scope="module")
def crowd():
    generator, made = np.random.default_rng(7), tasks(150, 2)
    answers = []
    for one in made:
        quality = generator.normal(size=2)
        for name in (*CAREFUL, "lefty", "flip", "dice"):
            shown = shuffled(one, generator)
            ranks = noisy_ranks(quality, 0.5, generator)
            if name == "lefty":
                ranks = [shown.index(i) + 1 for i in one.ids]
            if name == "flip":
                ranks = ranks[::-1]
            if name == "dice":
                ranks = noisy_ranks(quality * 0, 1, generator)
            answers.append(answer(one, name, *ranks, shown=shown))
    return batch(made), answers


def test_spammer_adversary_and_guesser_are_told_apart(crowd):
    found = skills(*crowd)
    assert all(found[name].care > 0.5 for name in CAREFUL)
    assert found["lefty"].left_when_left > 0.95 and found["lefty"].left_when_right > 0.95
    assert found["flip"].care < -0.5
    assert abs(found["dice"].care) < 0.3


def test_weights_are_one_for_the_middle_annotator_and_none_for_who_is_no_help(crowd):
    found = weights(skills(*crowd))
    assert all(0.7 < found[name] < 1.4 for name in CAREFUL)
    assert found["flip"] == 0 and found["lefty"] < 0.1 and found["dice"] < 0.5


def test_annotator_with_few_shared_pairs_is_not_judged(crowd):
    made, answers = crowd
    kept = {one.task_id for one in made.tasks[: MIN_PAIRS - 1]}
    few = [a for a in answers if a.annotator in ("ann", "ben") or (a.annotator == "cid" and a.task_id in kept)]
    assert set(skills(made, few)) == {"ann", "ben"}


def test_nobody_is_judged_when_nothing_overlaps(crowd):
    made, answers = crowd
    assert skills(made, [a for a in answers if a.annotator == "ann"]) == {}
    assert weights({}) == {}
