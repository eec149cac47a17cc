"""Two answers and who won: every way a vote is written, and what is refused."""

from __future__ import annotations

import pytest

from pipeline.errors import DataError
from stages.formats.registry import find, records

TALK_A = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "a"}]
TALK_B = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "b"}]
LONG_A, LONG_B = ([*talk, TALK_A[0], {"role": "assistant", "content": "c"}] for talk in (TALK_A, TALK_B))
FIRST, SECOND, TIE = (1, 2), (2, 1), (1, 1)


def summarize(choice):
    return {"info": {"post": "Long."}, "summaries": [{"text": "a"}, {"text": "b"}], "choice": choice}


def webgpt(first, second):
    return {"question": "Hi", "answer_0": "a", "answer_1": "b", "score_0": first, "score_1": second}


def helpsteer(strength, **more):
    return {"prompt": "Hi", "response_1": "a", "response_2": "b", "preference_strength": strength} | more


def arena(winner, first=TALK_A, second=TALK_B):
    return {"conversation_a": first, "conversation_b": second, "winner": winner}


def pandalm(*labels):
    return {"instruction": "Hi", "response1": "a", "response2": "b"} | {
        f"annotator{i}": label for i, label in enumerate(labels, start=1)
    }


def llmbar(label):
    return {"input": "Hi", "output_1": "a", "output_2": "b", "label": label}


def judged(preference, **more):
    return {"prompt": "Hi", "completion_a": "a", "completion_b": "b", "preference": preference} | more


def solutions(**right):
    solved = {name: {"solution": name, "is_correct": value} for name, value in right.items()}
    return {"question": "Hi"} | solved


@pytest.mark.parametrize("row, ranks", [
    (summarize(0), FIRST), (summarize(1), SECOND), (summarize("1"), SECOND),
    (webgpt(0.5, -0.5), FIRST), (webgpt("-1", "1"), SECOND), (webgpt(0, 0.0), TIE),
    (helpsteer(-1), FIRST), (helpsteer("3"), SECOND), (helpsteer(0), TIE),
    (arena("model_a"), FIRST), (arena("model_b"), SECOND), (arena("tie (bothbad)"), TIE), (arena("tie"), TIE),
    (pandalm(1), FIRST), (pandalm("2"), SECOND), (pandalm(0.0), TIE),
    (llmbar(1), FIRST), (llmbar("2"), SECOND),
    (judged("a-is-slightly-better"), FIRST), (judged("B"), SECOND), (judged("tie"), TIE),
    (solutions(a=True, b=False), FIRST), (solutions(a=False, b=True), SECOND), (solutions(a=False, b=False), TIE),
])  # fmt: skip
def test_winner_gets_rank_one_when_the_row_says_who_won(row, ranks):
    (record,) = records(find([row]), row)
    assert record.completions == ("a", "b") and [ranking.ranks for ranking in record.rankings] == [ranks]


def test_each_annotator_gets_a_ranking_when_the_row_has_several():
    labels = records("pandalm", pandalm(1, None, 0))[0].rankings
    assert [(r.annotator, r.ranks) for r in labels] == [("annotator1", FIRST), ("annotator3", TIE)]
    own = [{"score": 3}, {"score": 0}]
    steps = records("helpsteer", helpsteer(1, individual_preference=own))[0].rankings
    assert [r.ranks for r in steps] == [SECOND, TIE] and len({r.annotator for r in steps}) == 2


@pytest.mark.parametrize("name, row, where, problem", [
    ("summarize_feedback", summarize(2), "choice", "is '2'; allowed: 0, 1"),
    ("summarize_feedback", summarize(True), "choice", "is the boolean true; allowed: 0, 1"),
    ("summarize_feedback", summarize(0) | {"info": {"title": "Long"}}, "info", "has neither post nor article"),
    ("summarize_feedback", summarize(0) | {"summaries": [{"text": "a"}]}, "summaries", "1 summaries; two are compared"),
    ("webgpt", webgpt(None, 0), "score_0", "is null; a number is needed"),
    ("webgpt", webgpt(0, "much"), "score_1", "is 'much'; a number is needed"),
    ("helpsteer", helpsteer(4), "preference_strength", "is 4; -3 (the first answer is better) to 3"),
    ("helpsteer", helpsteer(float("nan")), "preference_strength", "is the number nan; a number is needed"),
    ("arena", arena("model_c"), "winner", "is 'model_c'; allowed: model_a, model_b, tie, tie (bothbad)"),
    ("arena", arena("tie", LONG_A, LONG_B), "conversation_a", "the turns before the last answer differ"),
    ("pandalm", pandalm(3), "annotator1", "is '3'; allowed: 0, 1, 2"),
    ("pandalm", pandalm(None), "rankings", "no ranking; at least one annotator's is needed"),
    ("llmbar", llmbar(0), "label", "is '0'; allowed: 1, 2"),
    ("llmbar", llmbar(1) | {"output_2": "a"}, "ranks", "completions 1 and 2 are the same text"),
    ("judged", judged("better"), "preference", "is 'better'; allowed: a-is-better"),
    ("judged", judged(None), "preference", "is empty: nobody judged this row"),
    ("solutions", solutions(a=True, b="yes"), "b.is_correct", "is text; true or false is allowed"),
    ("solutions", solutions(a=True), "completions", "1 completion; a comparison needs at least 2"),
])  # fmt: skip
def test_vote_is_refused_when_it_breaks_a_rule(name, row, where, problem):
    with pytest.raises(DataError) as caught:
        records(name, row)
    assert (caught.value.where, caught.value.problem[: len(problem)]) == (where, problem)
    assert caught.value.remedy
