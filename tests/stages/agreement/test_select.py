"""Choosing: the random part is random, the rest is what the strategy says."""

from __future__ import annotations

from collections import Counter

import pytest

from pipeline.errors import DataError
from stages.agreement.select import Candidate, select, stratified
from stages.formats.records import Ranking


def prompts(num, **more):
    return [Candidate(str(n), source="ab"[n % 3 == 0], length=float(n % 7), **more) for n in range(num)]


def test_every_candidate_is_as_likely_when_drawn_at_random():
    counts = Counter(i for seed in range(2000) for i in stratified(prompts(30), 6, seed))
    assert all(abs(counts[i] / 2000 - 0.2) < 0.045 for i in range(30))  # five standard errors


def test_sources_and_thirds_of_length_are_drawn_in_their_shares():
    pool = prompts(90)
    for seed in range(20):
        drawn = [pool[i] for i in stratified(pool, 18, seed)]
        assert len({c.key for c in drawn}) == 18
        assert Counter(c.source for c in drawn)["b"] == 6
        assert 2 <= sum(c.source == "a" and c.length < 2 for c in drawn) <= 5


def test_random_is_the_default_and_logs_its_propensity():
    found = select(prompts(40), 10, seed=1)
    assert {(one.by, one.propensity, one.completions) for one in found} == {("random", 0.25, None)}
    assert len(found) == 10 and found == select(prompts(40), 10, seed=1) != select(prompts(40), 10, seed=2)


def test_gap_shows_the_pair_with_the_largest_hoped_for_difference():
    sure = Candidate("sure", means=(0.0, 2.0, 1.0), sds=(0.0, 0.0, 0.0))
    unsure = Candidate("unsure", means=(0.0, 0.5, 0.9), sds=(2.0, 1.5, 0.0))
    close = [Candidate(f"close {n}", means=(0.1, 0.0)) for n in range(8)]
    chosen = [one for seed in range(9) for one in select([sure, unsure, *close], 3, "gap", seed) if one.by == "gap"]
    found = {one.key: one for one in chosen}
    assert (found["sure"].completions, found["sure"].score) == ((1, 0), 2)
    assert (found["unsure"].completions, found["unsure"].score) == ((1, 0), 3)  # 0.5 + sqrt(1.5^2 + 2^2)


def test_fifth_of_every_choice_is_random_and_shown_whole():
    pool = prompts(100, means=(1.0, 0.0))
    found = select(pool, 20, "gap")
    drawn = [one for one in found if one.by == "random"]
    assert len(found) == 20 and len(drawn) == 4
    assert {(one.propensity, one.completions) for one in drawn} == {(0.04, None)}


def voted(key, *ranks):
    return Candidate(key, rankings=tuple(Ranking(f"annotator {i}", own) for i, own in enumerate(ranks)))


def test_third_vote_goes_where_two_differ_most():
    pool = [voted("alike", (1, 2, 3), (1, 2, 3)), voted("opposed", (1, 2, 3), (3, 2, 1)), voted("one", (1, 2, 3)),
            voted("a little", (1, 2, 3), (1, 3, 2)), voted("apart", (1, 2, None), (None, 1, None))]  # fmt: skip
    chosen = {one.key for seed in range(20) for one in select(pool, 2, "disagreement", seed) if one.by != "random"}
    assert chosen == {"opposed", "a little"}  # the second where the first was drawn at random
    scores = {one.key: one.score for one in select(pool, 5, "disagreement")}
    assert scores["opposed"] == 1 and scores["a little"] == pytest.approx(1 / 3)


def test_fewer_are_chosen_when_nothing_more_is_disputed():
    found = select([voted(str(n), (1, 2), (1, 2)) for n in range(10)], 10, "disagreement")
    assert len(found) == 2 and all(one.by == "random" for one in found)


@pytest.mark.parametrize(("pool", "num", "strategy", "problem"), [
    (prompts(3), 2, "gaps", "random, gap, disagreement"), (prompts(3), 0, "random", "at least one task"),
    (prompts(3), 2, "gap", "has 0 predicted scores"),
    (prompts(3, means=(1.0, float("nan"))), 2, "gap", "a finite one a completion"),
])  # fmt: skip
def test_choice_that_cannot_be_made_is_refused(pool, num, strategy, problem):
    with pytest.raises(DataError, match=problem):
        select(pool, num, strategy)


def test_all_are_chosen_when_more_are_asked_for_and_none_when_there_are_none():
    assert len(select(prompts(3), 10)) == 3
    assert select([], 10) == []
