"""Plot fragments as inline SVG: named points with intervals, or a curve through them, from escaped parts.

Points are drawn twice, for a wide page and for a phone, and the style sheet shows one: a drawing that is merely
shrunk cannot be read on a phone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from pipeline.report.axes import is_wide, log_label, log_scale, log_ticks, scale, tick_label, ticks
from pipeline.report.labels import Box, Label, Mark, place
from pipeline.report.text import is_number, items, mapping, number, shorten, visible

WIDE, NARROW, CURVE = (700, 390), (340, 360), (340, 250)  # width and height
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 44
ROOM = 0.06  # of the span, kept free on each side of the points
MAX_NAME = {WIDE: 34, NARROW: 22, CURVE: 26}
NAMED = 6  # points of a curve: where there are more, only its ends are named
PLACED = 40  # names of other points: more have no room, and placing them takes time cubic in their number
DESCRIBED = 40  # points told in the drawing's description


@dataclass(frozen=True)
class Spot:
    """A point that can be drawn: every number is finite, and low <= y <= high."""

    name: str
    x: float
    y: float
    low: float
    high: float

    @property
    def told(self) -> str:
        interval = "" if self.low == self.high else f" [{number(self.low)}, {number(self.high)}]"
        return f"{self.name}: {number(self.y)}{interval} at {number(self.x)}"


@dataclass(frozen=True)
class PlotView:
    """A `plot` fragment as the page shows it; `narrow` is empty where one drawing serves every page."""

    stage: str
    title: str
    y_label: str
    note: str
    wide: Markup
    narrow: Markup
    joined: bool
    left_out: Sequence[str]  # names of points with a number that is not finite


@dataclass(frozen=True)
class Axis:
    """One axis: from value to place, and its ticks with their labels."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]  # place, label


def plot(stage: str, fragment: Mapping[str, Any]) -> PlotView:
    """A `plot` fragment, drawn."""
    given = [mapping(point) for point in items(fragment.get("points"))]
    spots = [spot for point in given if (spot := _spot(point))]
    left_out = [str(point.get("name", "")) for point in given if not _spot(point)]
    joined = fragment.get("joined") is True
    sizes = [CURVE] if joined else [WIDE, NARROW]
    wide, narrow = [*(_svg(fragment, spots, size, joined) if spots else Markup() for size in sizes), Markup()][:2]
    title, y_label, note = (str(fragment.get(key) or "") for key in ("title", "y_label", "note"))
    return PlotView(stage, title, y_label, note, wide, narrow, joined, left_out)


def _spot(point: Mapping[str, Any]) -> Spot | None:
    x, y, low, high = (point.get(key) for key in ("x", "y", "low", "high"))
    if not is_number(x) or not is_number(y):
        return None
    low, high = (float(end) if is_number(end) else float(y) for end in (low, high))
    return Spot(str(point.get("name", "")), float(x), float(y), min(low, y), max(high, y))


def _svg(fragment: Mapping[str, Any], spots: Sequence[Spot], size: tuple[int, int], joined: bool) -> Markup:
    inside = Box(LEFT, TOP, size[0] - RIGHT, size[1] - BOTTOM)
    diagonal = fragment.get("diagonal") is True
    across = _across([spot.x for spot in spots], inside, logarithmic=not joined)
    upright = _upright([end for spot in spots for end in (spot.low, spot.high)], inside)
    marks = [_mark(spot, across, upright, MAX_NAME[size]) for spot in spots]
    label = str(fragment.get("x_label", "")), str(fragment.get("y_label", ""))
    parts = [
        _head(str(fragment.get("title", "")), label, spots, size),
        *_frame(across, upright, inside, label[0]),
        *([_diagonal(spots, across, upright)] if diagonal else []),
        *([_curve(marks)] if joined else []),
        *(piece for spot, mark in zip(spots, marks, strict=True) for piece in _point(spot, mark)),
        *_names(_ends(marks) if joined else marks[:PLACED], marks, inside),
        Markup("</svg>"),
    ]
    return Markup("").join(parts)


def _mark(spot: Spot, across: Axis, upright: Axis, longest: int) -> Mark:
    name = visible(spot.name)
    name = name if len(name) <= longest else name[: longest - 1] + "…"
    return Mark(across.place(spot.x), upright.place(spot.y), name, upright.place(spot.high), upright.place(spot.low))


def _across(values: Sequence[float], inside: Box, logarithmic: bool) -> Axis:
    low, high = min(values), max(values)
    room = ROOM * (inside.right - inside.left)
    if logarithmic and is_wide(values):
        at, found = log_scale(low, high, inside.left + room, inside.right - room), log_ticks(low, high, 8)
        return Axis(at, [(at(value), log_label(value)) for value in found])
    low, high = _apart(low, high)
    at, found = scale(low, high, inside.left + room, inside.right - room), ticks(low, high, 4)
    return Axis(at, [(at(value), tick_label(value, found)) for value in found])


def _upright(values: Sequence[float], inside: Box) -> Axis:
    low, high = _apart(min(values), max(values))
    found = ticks(low, high, 5)
    at = scale(low, high, inside.bottom - ROOM * inside.bottom, inside.top + ROOM * inside.bottom)
    return Axis(at, [(at(value), tick_label(value, found)) for value in found])


def _apart(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis; one value alone stands in its middle."""
    if low < high:
        return low, high
    around = abs(low) * 0.1 or 1.0
    return max(low - around, -sys.float_info.max), min(high + around, sys.float_info.max)


def _head(title: str, label: tuple[str, str], spots: Sequence[Spot], size: tuple[int, int]) -> Markup:
    more = f"; and {len(spots) - DESCRIBED} more points" if len(spots) > DESCRIBED else ""
    told = "; ".join(shorten(spot.told, 200) for spot in spots[:DESCRIBED])
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" class="plot"><title>{}</title><desc>{}</desc>'
    ).format(*size, visible(title), visible(f"{label[1]} against {label[0]}: {told}{more}"))  # fmt: skip


def _frame(across: Axis, upright: Axis, inside: Box, x_label: str) -> Iterator[Markup]:
    """Grid, ticks and the x axis's name; the y axis's stands over the drawing, where it need not be turned."""
    for y, text in upright.ticks:
        yield Markup(
            f'<line class="grid" x1="{inside.left}" x2="{inside.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
            f'<text class="y" x="{inside.left - 7}" y="{y + 3.5:.1f}">{text}</text>'
        )
    for x, text in across.ticks:
        yield Markup(
            f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{inside.bottom}" y2="{inside.bottom + 4}"/>'
            f'<text class="x" x="{x:.1f}" y="{inside.bottom + 17}">{text}</text>'
        )
    yield Markup(
        f'<line class="axis" x1="{inside.left}" x2="{inside.right}" y1="{inside.bottom}" y2="{inside.bottom}"/>'
    )
    middle = (inside.left + inside.right) / 2
    yield Markup('<text class="x axis-name" x="{}" y="{}">{}</text>').format(
        middle, inside.bottom + 36, visible(x_label)
    )


def _diagonal(spots: Sequence[Spot], across: Axis, upright: Axis) -> Markup:
    """y = x, as far as both axes go."""
    low = max(min(s.x for s in spots), min(s.low for s in spots))
    high = min(max(s.x for s in spots), max(s.high for s in spots))
    return _line("diagonal", across.place(low), upright.place(low), across.place(high), upright.place(high))


def _curve(marks: Sequence[Mark]) -> Markup:
    return Markup(f'<polyline class="line" points="{" ".join(f"{m.x:.1f},{m.y:.1f}" for m in marks)}"/>')


def _point(spot: Spot, mark: Mark) -> Iterator[Markup]:
    """Its interval, and the dot, which tells its numbers where a pointer rests on it."""
    if mark.bottom - mark.top > 0.5:
        yield _line("bar", mark.x, mark.top, mark.x, mark.bottom)
        for y in (mark.top, mark.bottom):
            yield _line("bar", mark.x - 3.5, y, mark.x + 3.5, y)
    told = Markup("<title>{}</title>").format(visible(spot.told))
    yield Markup(f'<circle class="dot" cx="{mark.x:.1f}" cy="{mark.y:.1f}" r="4">') + told + Markup("</circle>")


def _ends(marks: Sequence[Mark]) -> list[Mark]:
    """Of a long curve its ends: the names between them follow from these."""
    return list(marks) if len(marks) <= NAMED else [marks[0], marks[-1]]


def _names(named: Sequence[Mark], marks: Sequence[Mark], inside: Box) -> Iterator[Markup]:
    for mark, label in zip(named, place(named, marks, inside), strict=True):
        if label.needs_leader(mark):
            yield _line("leader", mark.x, mark.y, *_start(label))
        yield Markup('<text class="label {}" x="{:.1f}" y="{:.1f}">{}</text>').format(
            label.anchor, label.x, label.y + 3.8, mark.name
        )


def _start(label: Label) -> tuple[float, float]:
    """Where a leader ends: just before the name's first letter, or behind its last."""
    return (label.x - 1 if label.anchor == "start" else label.x + 1), label.y


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return Markup(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>')
