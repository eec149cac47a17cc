"""Curves: which are drawn, in what order, and from which points."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from pipeline.report.curves import MAX_POINTS, chart, in_order, stage_curves, thinned, ticks
from pipeline.report.folder import Series, read_series


def series(name: str, *values: float) -> Series:
    return Series(name, [(float(step), value) for step, value in enumerate(values, 1)])


def polyline(svg: str) -> list[tuple[float, ...]]:
    found = re.search(r'<polyline class="line" points="([^"]*)"', svg)
    return [tuple(map(float, pair.split(","))) for pair in found[1].split()] if found else []


def test_read_series_leaves_out_what_is_not_finite_when_a_line_holds_nan(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    lines = [
        '{"step": 1, "time": 5, "loss": 3}',
        '{"step": 2, "loss": NaN}',
        "not json",
        "[1]",
        '{"step": 3, "loss": 1}',
    ]
    file.write_text("\n".join([*lines, '{"st']))
    (loss,) = read_series(file)
    assert loss == Series("loss", [(1.0, 3.0), (3.0, 1.0)], 1)


def test_read_series_keeps_the_later_value_when_a_resume_logs_a_step_again(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 2, "loss": 3}\n{"step": 3, "loss": 9}\n{"step": 2, "loss": 4}\n')
    (loss,) = read_series(file)
    assert loss.points == [(2.0, 4.0), (3.0, 9.0)]


def test_chart_draws_each_finite_point_when_some_are_not() -> None:
    drawn = chart(Series("loss", [(1.0, 3.0), (3.0, 1.0), (4.0, 2.0)], 1))
    assert len(polyline(drawn.svg)) == 3
    assert drawn.last == "2" and drawn.span == "min 1 · max 3 · 3 points · 1 not finite"


def test_chart_rises_on_the_page_when_the_metric_rises() -> None:
    (x0, y0), (x1, y1) = polyline(chart(series("reward", 0.0, 1.0)).svg)
    assert x0 < x1 and y0 > y1


@pytest.mark.parametrize("values", [(-1e308, 1e308), (5e-324, 1e-323), (1e15, 1e15 + 0.125), (0.0, 1e300)])
def test_chart_holds_only_finite_coordinates_when_values_are_extreme(values: tuple[float, float]) -> None:
    points = polyline(chart(series("loss", *values)).svg)
    assert len(points) == 2 and all(math.isfinite(number) for point in points for number in point)


def test_curves_leave_out_bookkeeping_when_a_metric_is_epoch_or_constant() -> None:
    found = stage_curves([series("epoch", 1, 2), series("kl_coef", 0.05, 0.05), series("loss", 2, 1)])
    assert [c.name for c in found.first] == ["loss"] and found.constant == [("kl_coef", "0.05")]


def test_order_takes_one_of_each_telling_group_when_a_stage_logs_many() -> None:
    names = ["learning_rate", "val/error", "loss/policy", "loss/value", "rewards/mean", "objective/kl"]
    found = [s.name for s in in_order([series(name, 1, 2) for name in names])]
    assert found == ["loss/policy", "rewards/mean", "objective/kl", "loss/value", "val/error", "learning_rate"]


def test_curves_name_what_is_not_drawn_when_a_stage_logs_more_than_twelve() -> None:
    found = stage_curves([series(f"m{n}", 1, 2) for n in range(14)])
    assert len(found.first) + len(found.more) == 12 and found.left_out == ["m12", "m13"]


def test_thinned_keeps_ends_and_extremes_when_a_line_is_long() -> None:
    points = [(float(n), math.sin(n)) for n in range(10_000)]
    points[5_000] = (5_000.0, 77.0)
    few = thinned(points)
    assert len(few) <= MAX_POINTS and few[0] == points[0] and few[-1] == points[-1]
    assert (5_000.0, 77.0) in few and few == sorted(few)


def test_ticks_are_round_when_the_range_is_not() -> None:
    assert ticks(0.13, 1.07, 5) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert ticks(1, 300, 4, whole=True) == [100, 200, 300]
    assert ticks(1, 2, 4, whole=True) == [1, 2]
