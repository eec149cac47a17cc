"""Where the names of a plot's points go, so that no name lies on another or on a mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

CHARACTER, LINE = 6.4, 13.0  # of 11 pixel type, rounded up: a browser's font is not known here
GAP = 8.0  # between a mark's middle and its name
STEPS = 6  # lines by which a name may be moved up or down
ON_A_NAME, ON_A_MARK, ON_A_BAR, A_LINE_AWAY = 20.0, 8.0, 2.0, 1.0  # what a place costs
LEADER_FROM = 9.0  # pixels up or down beyond which a thin line leads from the mark to its name


@dataclass(frozen=True)
class Box:
    """A rectangle on the page."""

    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: Box) -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def holds(self, other: Box) -> bool:
        return (
            self.left <= other.left
            and other.right <= self.right
            and self.top <= other.top
            and other.bottom <= self.bottom
        )


@dataclass(frozen=True)
class Mark:
    """A point on the page, its name, and the ends of its vertical bar."""

    x: float
    y: float
    name: str
    top: float
    bottom: float

    @property
    def dot(self) -> Box:
        return Box(self.x - 5, self.y - 5, self.x + 5, self.y + 5)

    @property
    def bar(self) -> Box:
        return Box(self.x - 3, self.top, self.x + 3, self.bottom)


@dataclass(frozen=True)
class Label:
    """Where a name is written: `anchor` is SVG's, `box` what it may cover."""

    x: float
    y: float
    anchor: str
    box: Box

    def needs_leader(self, mark: Mark) -> bool:
        return abs(self.y - mark.y) > LEADER_FROM and self.anchor != "middle"


def place(named: Sequence[Mark], marks: Sequence[Mark], within: Box) -> list[Label]:
    """A label for each of `named`, in their order: the cheapest place that `marks` and the labels before it leave."""
    placed: list[Label] = []
    for mark in named:
        free = [label for label in _places(mark) if within.holds(label.box)] or list(_places(mark))
        placed.append(min(free, key=lambda label: _cost(label, mark, marks, placed)))
    return placed


def _places(mark: Mark) -> Iterator[Label]:
    """Beside the mark, over and under it, and beside it but ever further up or down."""
    width = CHARACTER * len(mark.name)
    for lines in sorted(range(-STEPS, STEPS + 1), key=abs):
        y = mark.y + lines * LINE
        yield _label(mark.x + GAP, y, "start", mark.x + GAP, width)
        yield _label(mark.x - GAP, y, "end", mark.x - GAP - width, width)
        if lines == 0:
            for above in (mark.top - LINE, mark.bottom + LINE):
                yield _label(mark.x, above, "middle", mark.x - width / 2, width)


def _label(x: float, y: float, anchor: str, left: float, width: float) -> Label:
    return Label(x, y, anchor, Box(left, y - LINE / 2, left + width, y + LINE / 2))


def _cost(label: Label, mark: Mark, marks: Sequence[Mark], placed: Sequence[Label]) -> float:
    on_names = sum(label.box.overlaps(other.box) for other in placed)
    on_marks = sum(label.box.overlaps(other.dot) for other in marks)
    on_bars = sum(label.box.overlaps(other.bar) for other in marks)
    away = abs(label.y - mark.y) / LINE
    return ON_A_NAME * on_names + ON_A_MARK * on_marks + ON_A_BAR * on_bars + A_LINE_AWAY * away
