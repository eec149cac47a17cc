"""Figures of a source: length bias with its interval, labels, and what its task asks."""

from __future__ import annotations

from pathlib import Path

import pytest
from audited import chat, findings, look, ranked

from pipeline.contract import TaskConfig
from stages.audit.figures import longer_share


def test_share_is_wilsons_when_each_row_has_one_pair() -> None:
    # 8 of 10, z^2 = 3.8415: middle (0.8 + 0.19207) / 1.38415 = 0.71674, half 1.96 / 1.38415 * sqrt(0.016 + 0.009604)
    share, low, high = longer_share(10, 8, 10, 8, 8, 10)
    assert share == 0.8
    assert (low, high) == pytest.approx((0.4902, 0.9433), abs=2e-4)


def test_interval_is_no_narrower_when_rows_repeat_their_pair() -> None:
    once, thrice = longer_share(10, 8, 10, 8, 8, 10), longer_share(10, 24, 30, 72, 72, 90)
    assert thrice == pytest.approx(once)


def test_length_bias_is_told_when_the_longer_answer_always_wins(tmp_path: Path) -> None:
    rows = [ranked(f"Say {word}", [word, f"{word} and more of it"], [2, 1]) for word in "abcdefghijklmnopqrst"]
    audited = look(tmp_path, rows)
    assert [one["check"] for one in findings(audited)] == ["length_bias"]
    (table,) = audited.tables
    assert table.rows[0][:2] == ["rows", 20]
    assert str(table.rows[0][2]).startswith("100.0% [83.9%")  # Wilson at 20 of 20: 20 / (20 + 1.96**2)


def test_labels_are_counted_and_rare_ones_told(tmp_path: Path) -> None:
    rows = [chat(f"What of {n}?", "yes" if n % 3 else "no") for n in range(42)] + [chat("What else?", "perhaps")]
    audited = look(tmp_path, rows)
    assert [row[2:4] for row in audited.tables[0].rows] == [["yes", 28], ["no", 14], ["perhaps", 1]]
    assert [one["message"] for one in findings(audited)] == [
        "1 of 3 values of 'answer' occur in fewer than 5 rows: perhaps"
    ]


def test_answers_are_held_against_their_task(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["topic"]}
    task = TaskConfig(json_schema=schema, labels={"topic": ("order", "fees")})
    rows = [chat("One?", '{"topic": "order"}'), chat("Two?", '{"topic": "weather"}'), chat("Three?", "Order.")]
    audited = look(tmp_path, rows, task=task)
    told = [(one["row"], one["message"].split(",")[0]) for one in findings(audited)]
    assert told == [(2, "'topic' is 'weather'"), (3, "is not JSON"), (3, "'topic' is 'None'")]
    assert [row[1:] for row in audited.tables[0].rows] == [
        ["fits the JSON schema", 3, "66.7%"], ["label 'topic' is in the set", 3, "33.3%"]]  # fmt: skip


def test_reference_of_a_prompt_is_held_against_the_labels_alone(tmp_path: Path) -> None:
    schema = {"type": "object", "required": ["topic", "reply"]}
    task = TaskConfig(json_schema=schema, labels={"topic": ("order", "fees"), "tone": ("calm",)})
    rows = [{"prompt": "One?", "reference": {"topic": "order"}}, {"prompt": "Two?", "reference": {"topic": "weather"}},
            {"prompt": "Three?", "reference": "Whatever is right."}]  # fmt: skip
    assert [(one["check"], one["row"]) for one in findings(look(tmp_path, rows, task=task))] == [("task_answer", 2)]


def test_answers_are_held_against_their_label_set(tmp_path: Path) -> None:
    task = TaskConfig(label_set=("lost card", "fees"))
    rows = [chat("One?", "Lost card."), chat("Two?", "weather"), {"prompt": "Three?", "reference": "fees"}]
    audited = look(tmp_path, rows[:2], task=task)
    assert [(one["row"], one["message"]) for one in findings(audited)] == [(2, "'weather' is not in the label set")]
    assert audited.tables[0].rows == [["rows", "is in the label set", 2, "50.0%"]]
    assert findings(look(tmp_path, rows[2:], task=task)) == []
