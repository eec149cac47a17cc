"""Whatever people answered: every answer is counted, and the report is a report."""

from __future__ import annotations

import json

from agreement_cases import answer, batch, task
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.agreement.aggregate import Options, aggregate
from stages.agreement.agreement import measure
from stages.agreement.readings import describe
from stages.agreement.votes import votes
from stages.formats.rules import dense

SIZES = (2, 3, 4, 2, 3)
TEXTS = st.sampled_from(["a", "b", "c", "d", " ", "\x00"])
KINDS = st.sampled_from(["normal", "normal", "gold", "repeat"])


@st.composite
def held_and_given(draw):
    made = [task(n, *(draw(TEXTS) + str(i) * (draw(st.booleans())) for i in range(k))) for n, k in enumerate(SIZES)]
    key = {n: {"kind": draw(KINDS), "repeat_of": made[0].task_id} for n in range(len(made))}
    key[1] |= {"gold": {made[1].ids[0]: 1, made[1].ids[2]: 2}}
    answers = []
    for one in made:
        for name in draw(st.lists(st.sampled_from(["ann", "ben", "cid"]), max_size=4)):
            ranks = dense(draw(st.lists(st.none() | st.integers(1, 4), min_size=len(one.ids), max_size=len(one.ids))))
            more = {
                "shown": draw(st.sampled_from([(), one.ids, one.ids[::-1]])),
                "flags": draw(st.sampled_from([(), ("all_bad",), ("unsafe",)])),
                "active_seconds": draw(st.none() | st.floats(0, 1e6)),
                "touched": draw(st.none() | st.booleans()),
                "comment": draw(st.text(max_size=5)),
            }
            answers.append(answer(one, name, *ranks, **more))
    return batch(made, key), answers


@settings(max_examples=150, deadline=None)
@given(held_and_given(), st.sampled_from(["equal", "dawid_skene"]))
def test_every_answer_is_used_or_counted(case, weights):
    held, answers = case
    found = aggregate(held, answers, Options(weights=weights))
    assert sum(len(row["rankings"]) for row in found.rows) + sum(found.left_out.values()) == len(answers)
    assert all(0 <= vote.share <= 1 for comparison in found.comparisons for vote in votes(comparison.rankings, True))


@settings(max_examples=150, deadline=None)
@given(held_and_given())
def test_report_is_plain_json_and_text(case):
    found = measure(*case)
    json.dumps(found.as_row(), allow_nan=False)
    assert describe(found).startswith("Do the annotators agree?")
    shares = [found.pairwise, found.pairwise_apart, *(person.gold for person in found.annotators)]
    assert all(share.value is None or 0 <= share.value <= 1 for share in shares)
