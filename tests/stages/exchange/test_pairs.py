"""A person's choices between pairs as one ranking: what holds, what contradicts, and what is missing."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.exchange.pairs import Choice, order_of


def choices(text):
    """Choices from "a>b c=d"."""
    return [Choice(part[0], part[2], part[0] if part[1] == ">" else None) for part in text.split()]


@pytest.mark.parametrize("said, ranks", [
    ("a>b", {"a": 1, "b": 2}),
    ("a=b", {"a": 1, "b": 1}),
    ("a>b b>c a>c", {"a": 1, "b": 2, "c": 3}),
    ("a>b b>c", {"a": 1, "b": 2, "c": 3}),  # a over c follows
    ("a=b b=c", {"a": 1, "b": 1, "c": 1}),
    ("a=b b>c a>c", {"a": 1, "b": 1, "c": 2}),
    ("a>b a>c b=c d>a", {"d": 1, "a": 2, "b": 3, "c": 3}),
    ("", {}),
])  # fmt: skip
def test_order_is_the_ranking_when_the_choices_agree(said, ranks):
    order = order_of(choices(said))
    assert (order.ranks, order.warnings, order.remark) == (ranks, (), "")


@pytest.mark.parametrize("said, ranks, named", [
    ("a>b b>c c>a", {}, "a>b, b>c, c>a"),
    ("a=b b=c a>c", {}, "a=b, b=c, a>c"),  # a tie is no order where its ends differ
    ("a>b b>a", {}, "a>b, b>a"),
    ("a=b a>b", {}, "a=b, a>b"),
    ("a>b b>c c>a d>e d>a e>a", {"d": 1, "e": 2}, "a>b, b>c, c>a"),
])  # fmt: skip
def test_order_leaves_out_the_circle_when_choices_contradict(said, ranks, named):
    order = order_of(choices(said))
    assert (order.ranks, order.warnings) == (ranks, ("pairs_contradict",))
    assert order.remark == f"the choices {named} contradict each other"


@pytest.mark.parametrize("said, ranks, named", [
    ("a>b a>c", {"a": 1, "b": 2}, "a>c"),  # b and c were never compared: no ranking of three
    ("a>b c>d", {"a": 1, "b": 2}, "c>d"),
    ("a>b b>c d>c", {"a": 1, "b": 2, "c": 3}, "d>c"),
    ("a=b c=d c=e", {"c": 1, "d": 1, "e": 1}, "a=b"),
])  # fmt: skip
def test_order_invents_nothing_when_pairs_are_missing(said, ranks, named):
    order = order_of(choices(said))
    assert (order.ranks, order.warnings) == (ranks, ("pairs_left_out",))
    assert order.remark == f"{named} cannot be ranked with the others: pairs are missing"


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from("<=>")), max_size=7))
def test_order_says_nothing_that_does_not_follow_when_choices_are_any(drawn):
    said = [Choice(a, b, {"<": b, "=": None, ">": a}[sign]) for a, b, sign in drawn if a != b]
    ranks = order_of(said).ranks
    worlds = [world for world in all_worlds(ranks) if agrees(world, [c for c in said if inside(c, ranks)])]
    for choice in said:
        if inside(choice, ranks):  # what was kept is what was said
            assert agrees(ranks, [choice])
    if not order_of(said).warnings:  # and the only order that agrees
        assert worlds == [dict(ranks)] and len(ranks) == len({name for c in said for name in (c.first, c.second)})


def all_worlds(ranks):
    """Every ranking with ties of these completions, dense."""
    worlds = [{}]
    for name in ranks:
        worlds = [{**world, name: rank} for world in worlds for rank in range(1, len(ranks) + 1)]
    return [world for world in worlds if set(world.values()) == set(range(1, len(set(world.values())) + 1))]


def agrees(ranks, said):
    return all(
        ranks[c.first] == ranks[c.second]
        if c.winner is None
        else ranks[c.winner] < ranks[c.second if c.winner == c.first else c.first]
        for c in said
    )


def inside(choice, ranks):
    return choice.first in ranks and choice.second in ranks


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=8), st.permutations(range(5)))
def test_order_is_as_large_as_can_be_when_pairs_are_missing(drawn, worth):
    said = [Choice(str(a), str(b), str(a) if worth[a] < worth[b] else str(b)) for a, b in drawn if a != b]
    known = {frozenset((c.first, c.second)) for c in said}
    better = {(c.winner, c.second if c.winner == c.first else c.first) for c in said}
    for _ in range(5):
        better |= {(a, d) for a, b in better for c, d in better if b == c}
    known |= {frozenset(pair) for pair in better}
    names = sorted({name for c in said for name in (c.first, c.second)})
    largest = max((n for n in range(len(names) + 1) for group in combinations(names, n)
                   if all(frozenset(pair) in known for pair in combinations(group, 2))), default=0)  # fmt: skip
    assert len(order_of(said).ranks) == (largest if largest > 1 else 0)
