"""Prices and the break-even by hand; speed on the tiny model."""

from __future__ import annotations

import copy
import math

import pytest
from scipy import stats

from pipeline.contract import Artifact
from stages.evaluate.config import Price
from stages.evaluate.cost.calls import (
    CallCost,
    break_even,
    call_cost,
    cost_table,
    price_of,
    quality_against_cost,
    told_break_even,
    training_cost,
)
from stages.evaluate.cost.speed import Speed, measure_speed
from stages.rollout.generate import generate

TOKENS = Price(prompt_tokens=2.0, new_tokens=8.0)
LONG, SHORT = CallCost(800, 20, price=0.88), CallCost(40, 20, price=0.12)


def test_price_by_tokens_is_worked_by_hand():
    # mean 150 prompt and 30 new tokens: 1,000 calls are 0.15 and 0.03 million: 0.15 * 2 + 0.03 * 8
    cost = call_cost([100, 200], [20, 40], price=TOKENS)
    assert (cost.prompt_tokens, cost.new_tokens, cost.tokens, cost.seconds) == (150, 30, 180, None)
    assert cost.price == pytest.approx(0.54)


def test_price_by_the_hour_is_worked_by_hand():
    # 0.4 s to the first of 29 tokens, 28 more at 20 a second: 1.8 s a call, 0.5 hours of 1,000 calls at 3 an hour
    cost = call_cost([100], [29], Speed(0.4, 20.0), Price(hour=3.0))
    assert cost.seconds == pytest.approx(1.8) and cost.price == pytest.approx(1.5)


def test_price_is_not_known_without_a_price_or_a_speed_to_multiply():
    assert call_cost([100], [20]).price is None
    assert call_cost([100], [20], price=Price(prompt_tokens=1.0, hour=3.0)).price is None
    assert call_cost([100], [20], Speed(0.5, None), Price(hour=3.0)).price is None


def test_candidate_without_a_price_of_its_own_has_the_default():
    assert price_of({"default": TOKENS, "sft": Price(hour=1)}, "sft") == Price(hour=1)
    assert price_of({"default": TOKENS}, "base") == TOKENS
    assert price_of({"sft": TOKENS}, "base") is None


def test_training_cost_is_hours_times_price():
    assert training_cost(5400, Price(hour=2.0)) == 3.0
    assert training_cost(5400, TOKENS) is None and training_cost(5400, None) is None


def test_break_even_is_training_over_what_a_call_saves():
    assert break_even(3.0, 0.002, 0.005) == pytest.approx(1000)
    assert break_even(3.0, 0.005, 0.005) == break_even(3.0, 0.006, 0.005) == math.inf
    assert break_even(0.0, 0.002, 0.005) == 0


def test_break_even_is_told_in_words():
    assert told_break_even(SHORT, LONG, 3.8) == "pays for itself by cheaper calls after 5,000 of them"
    assert told_break_even(LONG, SHORT, 3.8) == "never pays for itself by cheaper calls, for a call costs no less"
    assert told_break_even(SHORT, CallCost(800, 20), 3.8) == told_break_even(SHORT, LONG, None) == ""


def test_table_holds_training_against_the_way_that_it_replaces_and_no_empty_columns():
    table = cost_table({"base": LONG, "sft": SHORT}, {"sft": Speed(0.25, 12.5)}, {"sft": 3.8}, "base")
    assert table.columns[-1] == "training, against base"
    assert table.rows[1] == ["sft", "40.0", "20.0", "0.25", "12.5", "0.12", "3.8",
                             "pays for itself by cheaper calls after 5,000 of them"]  # fmt: skip
    assert table.rows[0] == ["base", "800.0", "20.0", None, None, "0.88", None, None]
    bare = cost_table({"base": CallCost(800, 20)}, {}, {})
    assert list(bare.columns) == ["candidate", "prompt tokens", "new tokens"]
    assert "share" in bare.note and "machine" not in bare.note
    assert "currency of the recipe" in table.note and "currency" not in bare.note


def test_plot_shows_the_primary_with_its_interval_over_the_price_or_else_the_tokens():
    figures = {"base": {"exact": [1.0] * 30 + [0.0] * 70}, "sft": {"exact": [1.0] * 80 + [0.0] * 20}}
    plot = quality_against_cost(figures, "exact", {"base": LONG, "sft": SHORT})
    ci = stats.binomtest(80, 100).proportion_ci(method="wilson")
    point = plot.points[1]
    assert (point.name, point.x, point.y) == ("sft", 0.12, 0.8)
    assert (point.low, point.high) == pytest.approx((ci.low, ci.high))
    plot = quality_against_cost(figures, "exact", {"base": LONG, "sft": CallCost(40, 20)})
    assert [p.x for p in plot.points] == [820, 60] and plot.x_label.startswith("tokens")


def test_speed_is_of_single_calls(backbone, chat, monkeypatch):
    """The clock runs by tokens alone: one of a prompt takes 0.01 s, a new one 0.1 s."""
    now, asked, limits = [0.0], [], []
    prompts = [[5] * length for length in (10, 20, 30, 40, 50, 60, 70)]

    def answer(*args, max_new_tokens, **settings):
        done = generate(*args, max_new_tokens=max_new_tokens, **settings)
        ((prompt,),) = args[3:]
        asked.append(len(prompt))
        limits.append(max_new_tokens)
        now[0] += 0.01 * len(prompt) + 0.1 * len(done[0].ids)
        return done

    monkeypatch.setattr("stages.evaluate.cost.speed.generate", answer)
    monkeypatch.setattr("stages.evaluate.cost.speed.time.perf_counter", lambda: now[0])
    backbone.load("base", Artifact("base", "policy"))
    speed = measure_speed(backbone, "base", chat, prompts, max_new_tokens=99)
    assert sorted(set(asked)) == [20, 40, 60]  # short, middling and long
    assert max(limits) == 24  # a long answer is not waited for
    assert speed.first_token == pytest.approx(0.01 * 40 + 0.1)
    assert speed.rate == pytest.approx(10)


def test_speed_has_no_rate_when_answers_have_one_token(backbone, chat):
    backbone.load("base", Artifact("base", "policy"))
    speed = measure_speed(backbone, "base", chat, [[5, 6, 7]], max_new_tokens=1)
    assert speed.first_token > 0 and speed.rate is None
    assert speed.seconds(1) == speed.first_token and speed.seconds(5) is None
    with pytest.raises(ValueError, match="no prompt"):
        measure_speed(backbone, "base", chat, [], max_new_tokens=1)


def test_speed_has_a_rate_where_the_model_would_end_at_once(backbone, chat):
    backbone.load("base", Artifact("base", "policy"))
    ending = copy.copy(chat)
    ending.stop_ids = frozenset(range(len(chat.tokenizer)))
    (answer,) = generate(backbone, "base", ending, [[5, 6]], max_new_tokens=4, temperature=0.0, seed=0, purpose="x")
    assert len(answer.ids) == 1
    assert measure_speed(backbone, "base", ending, [[5, 6]], max_new_tokens=4).rate is not None
    assert len(ending.stop_ids) == len(chat.tokenizer)
