from __future__ import annotations

import pytest

from pipeline.errors import RecipeError
from stages.evaluate.verdict.primary import check_primary, choose_primary, direction, values_of

ONE = [1.0]


@pytest.mark.parametrize(
    ("known", "chosen"),
    [
        (["proxy score", "valid_json", "label_accuracy/category", "label_accuracy"], "label_accuracy"),
        (["rouge", "f1", "exact"], "exact"),
        (["win rate under proxy", "win rate under the LLM judge", "proxy score"], "win rate under the LLM judge"),
        (["win rate under second reward model's", "second reward model's score"], "second reward model's score"),
        (["ended", "length", "proxy score", "win rate under proxy"], "proxy score"),
        (["ended", "length", "KL to sft"], None),
    ],
)
def test_primary_is_the_first_that_a_program_can_check_and_the_proxy_last(known, chosen):
    assert choose_primary({"base": {"length": ONE}, "sft": dict.fromkeys(known, ONE)}) == chosen


def test_figure_that_no_question_has_is_not_chosen():
    assert choose_primary({"base": {"exact": [None], "f1": ONE}}) == "f1"


def test_named_figure_is_taken_though_another_would_come_first():
    assert choose_primary({"base": {"exact": ONE, "label_accuracy/urgency": ONE}}, "label_accuracy/urgency") == (
        "label_accuracy/urgency"
    )


def test_named_figure_that_nobody_got_is_not_replaced_by_another():
    assert choose_primary({"base": {"exact": ONE}}, "win rate under the LLM judge") is None


@pytest.mark.parametrize(
    ("wanted", "problem", "remedy"),
    [
        ("label_acuracy", "no candidate will have the figure 'label_acuracy'", "did you mean 'label_accuracy'?"),
        ("length", "more of 'length' is neither better nor worse", "choose one of: label_accuracy"),
    ],
)
def test_primary_that_cannot_decide_is_refused(wanted, problem, remedy):
    with pytest.raises(RecipeError) as caught:
        check_primary(wanted, ["label_accuracy", "length"])
    assert (caught.value.problem, caught.value.remedy) == (problem, remedy)
    check_primary("label_accuracy", ["label_accuracy", "length"])


@pytest.mark.parametrize(("figure", "sign"), [("f1", 1), ("length", 0), ("KL to sft", 0), ("perplexity", -1)])
def test_direction_is_told(figure, sign):
    assert direction(figure) == sign


def test_first_candidate_ties_with_itself_in_win_rates_alone():
    figures = {"base": {"length": ONE}, "sft": {"win rate under the LLM judge": [1.0, None]}}
    assert values_of(figures, "win rate under the LLM judge") == {"base": [0.5, 0.5], "sft": [1.0, None]}
    assert list(values_of({"base": {}, "sft": {"f1": ONE}}, "f1")) == ["sft"]
