"""A metric over the steps as a small inline SVG, and the choice of which metrics to show first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

from markupsafe import Markup, escape

from pipeline.report.axes import scale, tick_label, ticks
from pipeline.report.folder import Points, Series
from pipeline.report.text import number, visible

WIDTH, HEIGHT = 340, 168
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 8, 32
MAX_POINTS = 600  # beyond this a line is thinned to its extremes: 340 pixels cannot show more
OPEN, MOST = 3, 12  # charts of a stage that are open at first, and at all

TELLING = ("loss", "rewards", "reward", "objective", "kl")
LATE = ("lr", "learning", "norm", "num", "tokens", "time", "seconds")
BOOKKEEPING = {"epoch", "num_tokens", "num_input_tokens_seen", "total_flos", "step", "global_step"}


@dataclass(frozen=True)
class Chart:
    """One metric's curve with the figures that are printed beside it."""

    name: str
    svg: Markup
    last: str
    span: str


@dataclass(frozen=True)
class StageCurves:
    """A stage's charts: the telling ones, the others, and what is not worth one."""

    first: Sequence[Chart]
    more: Sequence[Chart]
    constant: Sequence[tuple[str, str]]  # name, value
    left_out: Sequence[str]


def stage_curves(series: Sequence[Series]) -> StageCurves:
    """Choose and draw the charts of one stage."""
    wanted = [s for s in series if s.name not in BOOKKEEPING]
    moving = in_order([s for s in wanted if _moves(s.points)])
    still = [(s.name, number(s.points[-1][1]) if s.points else "never finite") for s in wanted if not _moves(s.points)]
    charts = [chart(s) for s in moving[:MOST]]
    return StageCurves(charts[:OPEN], charts[OPEN:], still, [s.name for s in moving[MOST:]])


def in_order(series: Iterable[Series]) -> list[Series]:
    """The most telling metrics first, taking one of each telling group in turn; bookkeeping last."""
    groups: dict[int, list[Series]] = {}
    for one in series:
        groups.setdefault(_rank(one.name), []).append(one)
    telling = [groups[rank] for rank in sorted(groups) if rank < len(TELLING)]
    mixed = [one for one in chain.from_iterable(zip_longest(*telling)) if one is not None]
    return mixed + [one for rank in sorted(groups) if rank >= len(TELLING) for one in groups[rank]]


def _rank(name: str) -> int:
    words = re.split(r"[/_.]", name.lower())
    if any(word in words for word in LATE):
        return len(TELLING) + 1
    return next((place for place, word in enumerate(TELLING) if word in words), len(TELLING))


def chart(series: Series) -> Chart:
    """Draw one metric. Values that are not finite are left out of the line and counted below it."""
    points, values = series.points, [value for _, value in series.points]
    low, high, last = min(values), max(values), values[-1]
    span = f"min {number(low)} · max {number(high)} · {len(points):,} points"
    if series.num_not_finite:
        span += f" · {series.num_not_finite:,} not finite"
    title = f"{series.name}: last {number(last)} at step {number(points[-1][0])}, {span}"
    return Chart(series.name, _svg(thinned(points), title), number(last), span)


def _svg(points: Points, title: str) -> Markup:
    x_ticks = ticks(points[0][0], points[-1][0], 4, whole=True)
    y_low, y_high = min(y for _, y in points), max(y for _, y in points)
    y_ticks = ticks(y_low, y_high, 5)
    y_low, y_high = min(y_low, y_ticks[0]), max(y_high, y_ticks[-1])
    x_of = scale(points[0][0], points[-1][0], LEFT, WIDTH - RIGHT)
    y_of = scale(y_low, y_high, HEIGHT - BOTTOM, TOP)
    line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y in points)
    end_x, end_y = x_of(points[-1][0]), y_of(points[-1][1])
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img"><title>{escape(visible(title))}</title>',
        *(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y_of(y):.1f}" y2="{y_of(y):.1f}"/>'
            f'<text class="y" x="{LEFT - 7}" y="{y_of(y) + 3.5:.1f}">{tick_label(y, y_ticks)}</text>'
            for y in y_ticks
        ),
        *(
            f'<text class="x" x="{x_of(x):.1f}" y="{HEIGHT - BOTTOM + 15}">{tick_label(x, x_ticks)}</text>'
            for x in x_ticks
        ),
        f'<text class="x" x="{(LEFT + WIDTH - RIGHT) / 2:.1f}" y="{HEIGHT - 3}">step</text>',
        f'<polyline class="line" points="{line}"/><circle class="end" cx="{end_x:.1f}" cy="{end_y:.1f}" r="2.8"/>',
        "</svg>",
    ]
    return Markup("".join(parts))  # numbers and fixed text, but for the title, which is escaped above


def thinned(points: Points) -> Points:
    """At most MAX_POINTS points with the same ends and extremes: of each stretch its lowest and its highest."""
    if len(points) <= MAX_POINTS:
        return points
    inner, stretches = points[1:-1], MAX_POINTS // 2 - 1
    kept = [points[0]]
    for n in range(stretches):
        part = inner[n * len(inner) // stretches : (n + 1) * len(inner) // stretches]
        kept += sorted({min(part, key=lambda p: p[1]), max(part, key=lambda p: p[1])})
    return [*kept, points[-1]]


def _moves(points: Points) -> bool:
    return len({value for _, value in points}) > 1
