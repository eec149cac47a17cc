from __future__ import annotations

import pytest

from stages.evaluate.verdict.win_rates import win_rate_table

JUDGE = "win rate under the LLM judge"


def test_rate_at_equal_lengths_stands_beside_the_plain_one():
    """Longer answers win nine times in ten, shorter ones never."""
    longer, wins = [20.0, -20.0] * 20, [1.0, 0.0] * 18 + [0.0, 0.0] * 2
    figures = {
        "base": {"length": [50.0] * 40},
        "sft": {"length": [50.0 + more for more in longer], JUDGE: wins},
        "ppo": {"length": [60.0] * 40, JUDGE: [1.0] * 30 + [0.0] * 8 + [None] * 2},
    }
    table, metrics = win_rate_table(figures)
    assert [row[0] for row in table.rows] == ["sft", "ppo"]
    assert table.rows[0][2].startswith("0.45 [") and table.rows[0][4] == "+0.0"
    assert table.rows[1][2].startswith("0.789 [") and table.rows[1][4] == "+10.0"
    assert metrics["sft/length_controlled_win_rate_under_the_LLM_judge"] < 0.45
    assert 0 < metrics["ppo/length_controlled_win_rate_under_the_LLM_judge"] < 1


def test_there_is_no_table_when_there_is_no_win_rate():
    assert win_rate_table({"base": {"length": [1.0]}, "sft": {"length": [1.0]}}) == (None, {})
    assert win_rate_table({"base": {"length": [1.0]}, "sft": {"length": [1.0], JUDGE: [None]}}) == (None, {})


def test_answers_of_one_length_have_the_plain_rate():
    figures = {"base": {"length": [5.0] * 40}, "sft": {"length": [5.0] * 40, JUDGE: [1.0] * 30 + [0.0] * 10}}
    _, metrics = win_rate_table(figures)
    assert metrics["sft/length_controlled_win_rate_under_the_LLM_judge"] == pytest.approx(0.75, abs=1e-3)
