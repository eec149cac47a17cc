"""The whole report, on a crowd whose truth is known, and at its edges."""

from __future__ import annotations

import json

import numpy as np
import pytest
from agreement_cases import answer, batch, noisy_ranks, shuffled, task, tasks

from stages.agreement.agreement import measure
from stages.agreement.readings import alpha_reading, describe, pair_reading, tables, warnings


def crowd(noise, num=60, names=("ann", "ben", "cid"), **planted):
    generator, made, given = np.random.default_rng(1), tasks(num, 3), []
    for one in made:
        quality = generator.normal(size=3)
        for name in (*names, *planted):
            ranks = noisy_ranks(quality, noise, generator)
            ranks = planted[name](ranks, given) if name in planted else ranks
            given.append(answer(one, name, *ranks, shown=shuffled(one, generator), comment=f"{name} says"))
    return batch(made), given


def test_crowd_of_usual_care_is_in_line_with_published_data():
    found = measure(*crowd(0.8))
    assert (found.num_ranked, found.num_overlapped, found.statuses) == (60, 60, {"ranked": 180})
    assert 0.66 < found.pairwise.value < 0.8 and found.pairwise.low < found.pairwise.value < found.pairwise.high
    assert 0.3 < found.alpha.value < 0.65
    assert warnings(found) == []
    assert "published preference data" in describe(found)


def test_people_who_guess_are_warned_about():
    assert "hardly agree beyond chance" in warnings(measure(*crowd(50.0)))[0]


def test_copied_and_turned_answers_are_told_by_name():
    held, given = crowd(
        0.8, copy=lambda ranks, given: list(given[-3].ranks.values()), flip=lambda r, _: [4 - x for x in r]
    )
    told = "\n".join(warnings(measure(held, given)))
    assert "ann and copy give nearly the same rankings" in told
    assert "flip's choices are opposite to the others'" in told
    assert "ben" not in told and "cid" not in told


def test_gold_and_repeat_tasks_are_not_in_the_figures():
    made = tasks(3, 2)
    held = batch(made, {1: {"kind": "gold"}, 2: {"kind": "repeat", "repeat_of": made[0].task_id}})
    found = measure(held, [answer(one, name, 1, 2) for one in made for name in ("ann", "ben")])
    assert (found.num_tasks, found.num_ranked, found.pairwise.n) == (3, 1, 1)


@pytest.mark.parametrize("given", [[], ["skip"], ["rank"]], ids=["no answers", "a skip", "one annotator"])
def test_report_says_what_is_not_known_when_there_is_little(given):
    (one,) = made = tasks(1, 2)
    answers = [answer(one, "ann", *((1, 2) if what == "rank" else ())) for what in given]
    found = measure(batch(made), answers)
    assert (found.pairwise.value, found.alpha.value, found.w) == (None, None, {})
    assert "not known" in describe(found)
    assert json.loads(json.dumps(found.as_row(), allow_nan=False))["schema"] == "pref.agreement/1"


def test_report_is_json_and_the_same_twice():
    found = crowd(0.8)
    first, second = (json.dumps(measure(*found).as_row(), allow_nan=False) for _ in range(2))
    assert first == second and '"annotators": ["ann", "ben"]' in first


def test_comment_cannot_move_the_terminals_cursor():
    one = task(0, "a", "b", prompt="Which\x1b[2J?")
    given = [answer(one, "ann", 1, 2, comment="\x1b[31mred\r"), answer(one, "ben", 2, 1)]
    text = describe(measure(batch([one]), given))
    assert "red" in text and "\x1b" not in text and "\r" not in text


def test_every_table_is_filled_when_people_contradict_each_other():
    first, again = task(0, "x", "y", "z", prompt="Which?"), task(1, "x", "y", "z", prompt="Which?")
    ranks = {"ann": (1, 2, 3), "ben": (3, 1, 2), "cid": (2, 3, 1)}
    given = [answer(first, name, *own) for name, own in ranks.items()] + [answer(again, "ann", 3, 2, 1)]
    shown = [table.title for table in tables(measure(batch([first, again]), given))]
    assert shown == [
        "Do the annotators agree?",
        "Annotators",
        "Between annotators",
        "Most disputed tasks",
        "Contradictions",
    ]


@pytest.mark.parametrize(("alpha", "words"), [
    (None, "not known"), (0.1, "low"), (0.25, "below most"), (0.45, "in line with"), (0.7, "above most"),
    (0.95, "copied"),
])  # fmt: skip
def test_alpha_is_read_in_plain_words(alpha, words):
    assert words in alpha_reading(alpha)


@pytest.mark.parametrize(
    ("share", "words"), [(None, "not known"), (0.5, "below"), (0.7, "in line with"), (0.9, "above")]
)
def test_pair_agreement_is_read_in_plain_words(share, words):
    assert pair_reading(share).startswith(words)
