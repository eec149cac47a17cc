"""Disputed tasks, circles and contradictions, by hand."""

from __future__ import annotations

import numpy as np
from agreement_cases import answer, batch, task, tasks

from stages.agreement.disputes import NUM_DISPUTED, circles, disputed, majority_cycles, own_contradictions
from stages.agreement.judged import by_task, meetings


def disputes(held, given):
    laid = by_task(held, given)
    return disputed(held, given, laid, meetings(laid))


def test_most_disputed_task_comes_first_with_what_was_said():
    alike, torn, mixed = made = tasks(3, 3)
    given = [answer(alike, "ann", 1, 2, 3), answer(alike, "ben", 1, 2, 3), answer(torn, "ann", 1, 2, 3, comment="A!"),
             answer(torn, "ben", 3, 2, 1, flags=("unsafe",)), answer(mixed, "ann", 1, 2, 3),
             answer(mixed, "ben", 1, 3, 2)]  # fmt: skip
    found = disputes(batch(made), given)
    assert [(one.task_id, one.agreement) for one in found] == [(torn.task_id, 0), (mixed.task_id, 2 / 3)]
    assert (found[0].comments, found[0].flags) == ({"ann": "A!"}, {"ben": ["unsafe"]})
    assert found[0].ranks["ben"] == {torn.ids[0]: 3, torn.ids[1]: 2, torn.ids[2]: 1}


def test_no_more_than_twenty_are_told():
    made = tasks(NUM_DISPUTED + 5, 2)
    given = [answer(one, name, *ranks) for one in made for name, ranks in (("ann", (1, 2)), ("ben", (2, 1)))]
    assert len(disputes(batch(made), given)) == NUM_DISPUTED


def test_majorities_in_a_circle_are_found_once():
    (one,) = made = tasks(1, 4)
    given = [answer(one, "ann", 1, 2, 3, 4), answer(one, "ben", 3, 1, 2, 4), answer(one, "cid", 2, 3, 1, 4)]
    (found,) = majority_cycles(batch(made), by_task(batch(made), given))
    assert found.completions == one.ids[:3]
    assert majority_cycles(batch(made), by_task(batch(made), given[:2])) == []


def test_circles_of_a_tournament_are_counted_by_hand():
    regular = np.array([[0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 1], [1, 0, 0, 0, 1], [1, 1, 0, 0, 0]], float)
    assert len(circles(regular)) == 5  # n (n^2 - 1) / 24, the most that five can have


def test_repeat_that_turns_a_pair_round_is_a_contradiction():
    first, again = task(0, "red", "green", prompt="Which?"), task(1, "green", "red", prompt="Which?")
    given = [answer(first, "ann", 1, 2), answer(again, "ann", 1, 2), answer(first, "ben", 1, 2)]
    (found,), cycles = own_contradictions(batch([first, again]), given)
    assert (found.annotator, set(found.completions), cycles) == ("ann", {"red", "green"}, [])


def test_pairs_judged_apart_can_go_in_a_circle():
    pairs = [("red", "green"), ("green", "blue"), ("blue", "red")]
    made = [task(n, *pair, prompt="Which?") for n, pair in enumerate(pairs)]
    reversals, (found,) = own_contradictions(batch(made), [answer(one, "ann", 1, 2) for one in made])
    assert (reversals, found.annotator, set(found.completions)) == ([], "ann", {"red", "green", "blue"})


def test_same_texts_under_another_prompt_contradict_nothing():
    made = [task(0, "yes", "no"), task(1, "no", "yes")]
    assert own_contradictions(batch(made), [answer(one, "ann", 1, 2) for one in made]) == ([], [])
