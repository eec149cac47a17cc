"""What a stage gives back: figures, and fragments of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """A report fragment: rows under column heads. Cells are text or numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    note: str = ""


@dataclass(frozen=True)
class Samples:
    """A report fragment: prompts with the answers of several candidates side by side.

    Each row holds the conversation as text and one answer per candidate; `scores`, or `figures` by name where there are
    several, the one that matters most first, follow them.
    """

    title: str
    candidates: Sequence[str]
    # {"prompt": str, "answers": [str], "scores"?: [float], "figures"?: {name: [float | None]}, "reference"?: str}
    rows: Sequence[Mapping[str, Any]]
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """A report fragment: what came out, in a few sentences. The page shows it above everything else."""

    title: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Point:
    """One mark of a plot; `low` and `high` are its interval on the y axis."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Plot:
    """A report fragment: named points, such as quality against cost, or, where `joined`, a curve through them."""

    title: str
    x_label: str
    y_label: str
    points: Sequence[Point]
    joined: bool = False
    note: str = ""
    diagonal: bool = False  # with the line y = x, on which a foretold share lies where it comes true


Fragment = Table | Samples | Verdict | Plot


@dataclass(frozen=True)
class Result:
    """What a stage returns: final figures, fragments for the report, and what it wants said on the terminal."""

    metrics: Mapping[str, float]
    fragments: Sequence[Fragment] = ()
    summary: Sequence[str] = ()


@dataclass(frozen=True)
class Estimate:
    """What a stage will need, foretold from its config alone."""

    memory_gb: float | None = None
    disk_gb: float | None = None  # of the stage's folder when it is fullest: the checkpoints kept, one more, the output
    notes: Sequence[str] = ()
