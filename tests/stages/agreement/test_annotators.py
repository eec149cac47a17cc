"""What the table says of annotators with known habits."""

from __future__ import annotations

import numpy as np
import pytest
from agreement_cases import answer, batch, shuffled, task, tasks

from stages.agreement.annotators import annotators
from stages.agreement.judged import by_task, meetings
from stages.agreement.readings import habits


def of(held, answers):
    (found,) = annotators(held, answers, meetings(by_task(held, answers)))
    return found


def test_gold_score_is_the_share_of_the_keys_pairs_with_half_for_a_tie():
    one, other = made = tasks(2, 3)
    gold = {i: {"kind": "gold", "gold": dict(zip(t.ids, (1, 2, 3), strict=True))} for i, t in enumerate(made)}
    found = of(batch(made, gold), [answer(one, "ann", 1, 3, 2), answer(other, "ann", 1, 1, None)])
    assert (found.gold.value, found.gold.n) == (pytest.approx((2 + 0.5) / 4), 4)


def test_repeat_is_compared_by_text_when_its_ids_and_order_are_new():
    first = task(0, "red", "green", "blue", prompt="Which?")
    again = task(1, "blue", "red", "green", prompt="Which?")
    held = batch([first, again], {1: {"kind": "repeat", "repeat_of": first.task_id}})
    same = of(held, [answer(first, "ann", 1, 2, 3), answer(again, "ann", 3, 1, 2)])
    swapped = of(held, [answer(first, "ann", 1, 2, 3), answer(again, "ann", 3, 2, 1)])
    assert (same.repeats.value, same.repeats.n) == (1, 3)
    assert swapped.repeats.value == pytest.approx(2 / 3)


def test_habit_of_the_first_position_shows_and_its_absence_does_not():
    generator, made = np.random.default_rng(0), tasks(120, 2)
    lazy, fair = [], []
    for one in made:
        shown = shuffled(one, generator)
        first = 1 if generator.random() < 0.8 else 2
        lazy.append(answer(one, "lazy", *(first if i == shown[0] else 3 - first for i in one.ids), shown=shown))
        fair.append(answer(one, "fair", *(int(r) + 1 for r in generator.permutation(2)), shown=shown))
    found = of(batch(made), lazy)
    assert found.left_wins.low > 0.65 and found.first_position.high < 0.35 and found.by_position[0] < 0.35
    assert any("favours what is shown first" in text for text in habits(found))
    assert not habits(of(batch(made), fair))


def test_order_left_as_shown_is_told_beside_what_chance_gives():
    made = tasks(20, 3)
    lazy = of(batch(made), [answer(one, "lazy", 1, 2, 3, touched=False) for one in made])
    assert (lazy.as_shown.value, lazy.untouched.value, lazy.as_shown_by_chance) == (1, 1, pytest.approx(1 / 6))
    told = " ".join(habits(lazy))
    assert "ranks in the order shown" in told and "moved nothing" in told


def test_untouched_rate_is_not_known_when_the_tool_cannot_tell():
    (one,) = made = tasks(1, 3)
    assert of(batch(made), [answer(one, "ann", 1, 2, 3)]).untouched.value is None
    assert of(batch(made), [answer(one, "ann", 1, 2, 3, warnings=("order_untouched",))]).untouched.value == 1


@pytest.mark.parametrize(("seconds", "share"), [(11.9, 1), (12.1, 0)])
def test_too_fast_is_under_two_seconds_and_fifteen_words_a_second(seconds, share):
    one = task(0, "word " * 74, "word " * 74, prompt="Two words")  # 150 words: 12 seconds
    found = of(batch([one]), [answer(one, "ann", 1, 2, active_seconds=seconds)])
    assert (found.too_fast.value, found.median_seconds) == (share, seconds)


def test_rates_count_all_answers_and_ties_count_pairs():
    made = tasks(4, 3)
    given = [answer(made[0], "ann", 1, 1, 2), answer(made[1], "ann"), answer(made[2], "ann", flags=("all_bad",)),
             answer(made[3], "ann", 1, None, 2)]  # fmt: skip
    found = of(batch(made), given)
    assert (found.skipped.value, found.all_bad.value, found.num_answers) == (0.5, 0.25, 4)
    assert (found.ties.value, found.ties.n) == (0.25, 4)
