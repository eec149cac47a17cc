"""Answers laid out by task."""

from __future__ import annotations

import numpy as np
import pytest
from agreement_cases import answer, batch, tasks

from pipeline.errors import DataError
from stages.agreement.agreement import pairwise, pairwise_apart
from stages.agreement.judged import Judged, agreement, by_task, check_tasks, meetings, newest, pair_wins
from stages.annotation.schema import UNUSABLE

A, B, C = made = tasks(3, 3)
NAN = np.nan


def test_pair_wins_go_by_position_with_half_for_a_tie_and_nothing_for_what_was_not_ranked():
    assert pair_wins(np.array([[1.0, 2, 2], [3, 1, 2]])).tolist() == [[1, 1, 0.5], [0, 0, 1]]
    assert np.isnan(pair_wins(np.array([[1, NAN, 2]]))).tolist() == [[True, False, True]]


def test_two_who_guess_agree_on_half_of_the_pairs_however_often_they_tie():
    generator = np.random.default_rng(0)
    one, other = generator.choice([0, 0.5, 1], (2, 20_000), p=[0.1, 0.8, 0.1])
    assert agreement(one, other).mean() == pytest.approx(0.5, abs=0.005)


def test_ties_are_half_in_one_figure_and_left_out_of_the_other():
    met = meetings([Judged("a", ("ann", "ben", "cid"), np.array([[1.0, 2, 3], [1, 2, 2], [2, 1, 3]]))])
    assert (pairwise(met).value, pairwise(met).n) == (pytest.approx((2 + 0.5 + 2 + 1 + 0.5) / 9), 9)
    assert (pairwise_apart(met).value, pairwise_apart(met).n) == (pytest.approx(5 / 7), 7)


def test_only_normal_tasks_that_somebody_ranked_are_laid_out():
    held = batch(made, {1: {"kind": "gold"}})
    given = [answer(A, "ann", 1, 2, None), answer(B, "ann", 1, 2, 3), answer(C, "ann")]
    (found,) = by_task(held, given)
    assert (found.task_id, found.annotators) == (A.task_id, ("ann",))
    assert np.array_equal(found.ranks_AK, [[1, 2, NAN]], equal_nan=True)


def test_later_answer_stands_when_an_import_kept_both():
    early = answer(A, "ann", 1, 2, 3, submitted_at="2026-11-01T00:00:00Z")
    late = answer(A, "ann", 3, 2, 1, submitted_at="2026-11-02T00:00:00Z")
    assert newest([late, early]) == [late]


def test_later_answer_stands_when_times_are_in_two_zones():
    early = answer(A, "ann", 1, 2, 3, submitted_at="2026-11-02T10:00:00+09:00")
    late = answer(A, "ann", 3, 2, 1, submitted_at="2026-11-02T02:00:00Z")
    assert newest([late, early]) == [late]


def test_ranking_is_not_laid_out_when_its_flag_says_that_it_means_nothing():
    given = [answer(A, "ann", 1, 2, 3), *(answer(A, flag, 3, 2, 1, flags=(flag,)) for flag in (*UNUSABLE, "unsafe"))]
    (found,) = by_task(batch(made), given)
    assert found.annotators == ("ann", "unsafe")


@pytest.mark.parametrize(("wrong", "problem"), [
    (answer(tasks(9, 3)[8], "ann", 1, 2, 3), "is no task of"),
    (answer(A, "ann", 1, ranks={"c_unknown0": 1}), "ids that are not its own"),
])  # fmt: skip
def test_answer_that_is_not_the_batchs_is_refused(wrong, problem):
    with pytest.raises(DataError, match=problem) as caught:
        check_tasks(batch(made), [wrong])
    assert "annotator ann" in caught.value.where and caught.value.remedy
