"""Answers that look unread: warned of per annotator, and left out only where somebody asks for it."""

from __future__ import annotations

import math
import random
from itertools import permutations

import pytest
from made_up_batch import made_up_batch
from people import Office

from stages.annotation.suspects import at_least, find, least_seconds
from stages.exchange.tools import ReadOptions
from stages.returns.take import read_answers

SHOWN = {"annotator": "who", "task_id": "task", "ranking": "order", "shown": "shown", "active_seconds": "secs"}


def judged(folder, count, size, order, seconds=None, who="ann1"):
    """`count` tasks of `size`, each ranked by `order(number)` in letters of the order shown."""
    office = Office(folder, made_up_batch([[f"{n} {number}" for n in range(size)] for number in range(count)]))
    rows = [(who, task.task_id, order(number), " ".join(reversed(task.ids)), seconds or "")
            for number, task in enumerate(office.batch.tasks)]  # fmt: skip
    return office, office.write([("who", "task", "order", "shown", "secs"), *rows])


def how(**options):
    return {"read": ReadOptions(columns=SHOWN), **options}


def test_annotator_is_named_when_orders_are_left_as_shown(tmp_path):
    office, back = judged(tmp_path, 6, 3, lambda number: "A>B>C" if number else "C>B>A")
    report = office.take(back, **how())
    assert [(one.annotator, one.words) for one in report.suspects] == [("ann1", "5 of 6 rankings are the order shown")]
    assert [answer.warnings for answer in read_answers(office.answers)] == [(), *[("order_untouched",)] * 5]


def test_suspect_answers_are_dropped_and_counted_when_asked_for(tmp_path):
    office, back = judged(tmp_path, 6, 3, lambda number: "A>B>C" if number else "C>B>A")
    office.take(back, **how())
    report = office.take(back, **how(drop_suspect=True))
    assert report.files[0].counts == {"taken": 1, "dropped": 5}
    assert [answer.task_id for answer in read_answers(office.answers)] == [office.batch.tasks[0].task_id]


def test_answer_of_another_file_stands_again_when_the_one_that_replaced_it_is_dropped(tmp_path):
    office, back = judged(tmp_path, 6, 3, lambda number: "A>B>C")
    task = office.batch.tasks[0]
    before = office.write([("who", "task", "order", "shown", "secs"), ("ann1", task.task_id, "B>A>C", "", "")], "0.csv")
    office.take(before, read=ReadOptions(columns={k: v for k, v in SHOWN.items() if k != "shown"}))
    report = office.take(back, **how(drop_suspect=True, on_conflict="newest-file"))
    assert report.files[0].counts == {"dropped": 6}
    (answer,) = read_answers(office.answers)
    assert [answer.ranks[name] for name in task.ids] == [2, 1, 3]


@pytest.mark.parametrize("choice, side", [("A>B", "first"), ("B>A", "second")])
def test_annotator_is_named_when_one_side_is_always_chosen(tmp_path, choice, side):
    office, back = judged(tmp_path, 12, 2, lambda number: choice)
    assert [one.words for one in office.take(back, **how()).suspects] == [
        f"all 12 choices between two are the {side} answer"
    ]


def test_annotator_is_named_when_answers_took_less_than_reading_takes(tmp_path):
    office, back = judged(tmp_path, 5, 2, lambda number: ("A>B", "B>A")[number % 2], seconds="1.5")
    assert [one.words for one in office.take(back, **how()).suspects] == [
        "5 of 5 timed answers took less than reading takes"
    ]


def test_least_seconds_are_two_and_a_fifteenth_a_word_of_prompt_and_completions():
    task = made_up_batch([["one two three", "four five six " * 19]], questions=["word " * 30]).tasks[0]
    assert math.isclose(least_seconds(task), 2 + (30 + 60) / 15)


@pytest.mark.parametrize("count, size", [(4, 3), (200, 3), (12, 2)])
def test_nobody_is_named_when_orders_are_by_chance_or_answers_are_few(tmp_path, count, size):
    chance = random.Random(3)
    orders = [">".join(order) for order in permutations("ABC"[:size])]
    pick = chance.choice if count > 4 else lambda _: orders[0]
    office, back = judged(tmp_path, count, size, lambda number: pick(orders))
    report = office.take(back, **how())
    assert report.suspects == []
    assert find(read_answers(office.answers), office.batch) == []


def test_probability_of_at_least_so_many_is_the_binomial_one():
    assert math.isclose(at_least([1 / 6] * 4, 3), 4 * 5 / 6**4 + 1 / 6**4)
    assert math.isclose(at_least([0.5, 0.1], 1), 1 - 0.5 * 0.9)
    assert at_least([0.3], 0) == 1.0
