"""Plot fragments: where points, intervals and names stand, and what is not drawn."""

from __future__ import annotations

import math
import re
import sys
from itertools import combinations
from typing import Any

import pytest

from pipeline.report.axes import log_ticks, scale
from pipeline.report.labels import Box, Mark, place
from pipeline.report.plots import plot


def fragment(*points: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    keys = ("name", "x", "y", "low", "high")
    given = [dict(zip(keys, point, strict=False)) for point in points]
    return {"type": "plot", "title": "T", "x_label": "cost", "y_label": "quality", "points": given, **more}


def dots(svg: str) -> list[tuple[float, ...]]:
    return [tuple(map(float, found)) for found in re.findall(r'class="dot" cx="([^"]*)" cy="([^"]*)"', svg)]


def lines(svg: str, kind: str) -> list[dict[str, float]]:
    found = re.findall(rf'<line class="{kind}" ([^/]*)/>', svg)
    return [{key: float(value) for key, value in re.findall(r'(\w+)="([^"]*)"', line)} for line in found]


def test_points_stand_right_and_up_when_they_are_larger() -> None:
    drawn = plot("judge", fragment(("a", 1, 10), ("b", 2, 20), ("c", 4, 15)))
    for svg in (drawn.wide, drawn.narrow):
        (xa, ya), (xb, yb), (xc, yc) = dots(svg)
        assert xc - xb == pytest.approx(2 * (xb - xa), abs=0.3) and ya - yc == pytest.approx((ya - yb) / 2, abs=0.3)


def test_axis_is_logarithmic_when_points_lie_more_than_fifty_times_apart() -> None:
    (xa, _), (xb, _), (xc, _) = dots(plot("judge", fragment(("a", 0.1, 1), ("b", 1, 1), ("c", 10, 1))).wide)
    assert xb - xa == pytest.approx(xc - xb, abs=0.3)
    (xa, _), (xb, _), (xc, _) = dots(plot("judge", fragment(("a", 0, 1), ("b", 1, 1), ("c", 100, 1))).wide)
    assert xb - xa == pytest.approx((xc - xb) / 99, abs=0.3)


def test_interval_reaches_from_low_to_high_when_it_is_given() -> None:
    drawn = plot("judge", fragment(("a", 1, 0.5, 0.25, 1.0), ("b", 2, 0.75)))
    upright = [line for line in lines(drawn.wide, "bar") if line["x1"] == line["x2"]]
    (a, b) = dots(drawn.wide)
    (bar,) = upright
    assert bar["x1"] == a[0] and bar["y2"] - bar["y1"] == pytest.approx(3 * (a[1] - b[1]), abs=0.4)
    assert bar["y2"] - a[1] == pytest.approx((bar["y2"] - bar["y1"]) / 3, abs=0.4)


def test_curve_joins_points_in_their_order_when_x_goes_back() -> None:
    drawn = plot("ppo", fragment(("a", 0, 0), ("b", 2, 1), ("c", 1, 2), joined=True))
    (points,) = re.findall(r'<polyline class="line" points="([^"]*)"', drawn.wide)
    assert [tuple(map(float, pair.split(","))) for pair in points.split()] == dots(drawn.wide) and not drawn.narrow


def test_diagonal_is_where_y_equals_x() -> None:
    points = [(f"{n}", n / 10, n / 10, n / 10 - 0.05, n / 10 + 0.1) for n in range(5, 10)]
    drawn = plot("rm", fragment(*points, joined=True, diagonal=True))
    (line,) = lines(drawn.wide, "diagonal")
    assert [line["x1"], line["y1"], line["x2"], line["y2"]] == pytest.approx(
        [*dots(drawn.wide)[0], *dots(drawn.wide)[-1]]
    )
    assert "diagonal" not in plot("rm", fragment(*points, joined=True)).wide


def test_only_the_ends_are_named_when_a_curve_is_long() -> None:
    drawn = plot("ppo", fragment(*((f"iteration {n}", n, n) for n in range(30)), joined=True))
    assert re.findall(r'class="label [^>]*>([^<]*)<', drawn.wide) == ["iteration 0", "iteration 29"]
    assert len(dots(drawn.wide)) == 30


def test_points_are_named_as_left_out_when_they_are_not_finite() -> None:
    drawn = plot("judge", fragment(("a", 1, math.nan), ("b", 1, 2), ("c", None, 3), ("d", "1", 1)))
    assert len(dots(drawn.wide)) == 1 and drawn.left_out == ["a", "c", "d"]
    assert plot("judge", fragment()).wide == ""
    assert plot("judge", {"points": ["a", 3, None]}).wide == ""


@pytest.mark.parametrize("values", [(-1e308, 1e308), (0.0, 5e-324), (sys.float_info.max,) * 2, (1e-300, 1e300), (0, 0)])
def test_coordinates_are_finite_when_values_are_extreme(values: tuple[float, float]) -> None:
    for joined in (False, True):
        drawn = plot("judge", fragment(*((str(n), value, value) for n, value in enumerate(values)), joined=joined))
        assert all(math.isfinite(number) for dot in dots(drawn.wide) for number in dot)
        assert not re.search("nan|inf", drawn.wide.split("</desc>")[1])


def test_texts_are_escaped_in_the_drawing() -> None:
    attack = '<script>"\u202e'
    given = fragment((attack, 1, 2), title=attack, x_label=attack, y_label=attack)
    for svg in (plot("judge", given).wide, plot("judge", given).narrow):
        assert "<script" not in svg and "\u202e" not in svg and svg.count("&lt;script&gt;") >= 4


def test_description_tells_every_number_when_the_drawing_cannot_be_seen() -> None:
    svg = plot("judge", fragment(("a", 1, 0.5, 0.25, 1.0), ("b", 2, 0.75))).wide
    assert "<title>T</title><desc>quality against cost: a: 0.5 [0.25, 1] at 1; b: 0.75 at 2</desc>" in svg


def test_names_do_not_overlap_when_points_are_crowded() -> None:
    marks = [Mark(300 + 3 * (n % 3), 200 + 2 * n, f"candidate {n}", 190 + 2 * n, 210 + 2 * n) for n in range(9)]
    page = Box(50, 10, 690, 350)
    labels = place(marks, marks, page)
    assert not any(a.box.overlaps(b.box) for a, b in combinations(labels, 2))
    assert all(page.holds(label.box) for label in labels)
    assert not any(label.box.overlaps(mark.dot) for label in labels for mark in marks)


def test_name_turns_inwards_when_its_point_is_at_the_edge() -> None:
    mark = Mark(685, 100, "the most expensive", 100, 100)
    (label,) = place([mark], [mark], Box(50, 10, 690, 350))
    assert label.anchor == "end" and label.y == 100 and not label.needs_leader(mark)


def test_log_ticks_are_round_and_few() -> None:
    assert log_ticks(0.11, 8.9, 8) == pytest.approx([0.2, 0.5, 1, 2, 5])
    assert log_ticks(0.5, 2e6, 8) == pytest.approx([10.0**n for n in range(7)])
    assert len(log_ticks(1e-300, 1e300, 8)) <= 8
    assert log_ticks(1e250, sys.float_info.max, 8)


def test_scale_is_finite_when_its_ends_are_the_smallest_floats() -> None:
    assert scale(0.0, 5e-324, 10, 20)(5e-324) == 10


def test_names_are_left_out_when_there_are_more_points_than_room_for_them() -> None:
    drawn = plot("judge", fragment(*((f"point {n}", n * 37 % 101, n * 53 % 97) for n in range(90))))
    for svg in (drawn.wide, drawn.narrow):  # placing 1,000 names took minutes
        assert len(dots(svg)) == 90 and svg.count('class="label ') == 40
        assert svg.count("<title>point ") == 90  # each tells its own where a pointer rests


def test_names_of_a_curve_are_whole_when_they_count_thousands_of_pairs() -> None:
    name = "1,000 pairs, 120 prompts"
    drawn = plot("rm", fragment((name, 0.6, 0.5), (name, 0.75, 0.6), (name, 0.9, 0.8), joined=True))
    assert re.findall(r'class="label [^>]*>([^<]*)<', drawn.wide) == [name] * 3
