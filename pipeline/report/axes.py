"""Axes of the page's drawings: from values to places on the page, and the round numbers that are written there."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pipeline.report.text import number

LOG_SPAN = 50  # times: beyond it equal steps would press all small values together


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Maps [low, high] to [start, end]."""
    # Halved first: the difference of two floats near the largest one is infinite.
    half = high / 2 - low / 2 or 1.0  # the smallest floats have no half
    return lambda value: start + (value / 2 - low / 2) / half * (end - start)


def log_scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """The same by the values' logarithms; they are above 0."""
    even = scale(math.log10(low), math.log10(high), start, end)
    return lambda value: even(math.log10(value))


def is_wide(values: Sequence[float]) -> bool:
    """Whether positive values lie so far apart that a logarithmic axis shows them better."""
    return min(values) > 0 and max(values) / LOG_SPAN > min(values)


def ticks(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """At most `most` + 1 round numbers within [low, high], evenly spaced; the ends where none is round enough."""
    rough = (high / 2 - low / 2) / most * 2
    if not 0 < rough < math.inf or rough < 1e-12 * max(abs(low), abs(high)):
        return [low, high]
    power = 10.0 ** math.floor(math.log10(rough))
    if power == 0:
        return [low, high]
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10, 20) if factor * power >= rough * 0.999)
    step = max(1.0, math.ceil(step)) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)] if last - first >= 1 else [low, high]


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """1, 2 and 5 times powers of ten within [low, high]; where these are over `most`, powers alone, thinned."""
    first, last = math.floor(math.log10(low)), math.floor(math.log10(high))
    fine = [factor * 10.0**power for power in range(first, last + 1) for factor in (1, 2, 5)]
    found = [value for value in fine if low <= value <= high]
    if len(found) <= most:
        return found
    powers = [10.0**power for power in range(first, last + 1) if low <= 10.0**power <= high]
    return powers[:: -(-len(powers) // most)]


def tick_label(value: float, among: Sequence[float]) -> str:
    """`value` with as many decimals as its neighbours need."""
    step = abs(float(among[1]) - among[0])
    if not 1e-4 <= step < 1e15 or max(map(abs, among)) >= 1e6:
        return f"{value:.1e}" if value else "0"
    decimals = 0 if step.is_integer() else max(0, 1 - math.floor(math.log10(step)))
    while decimals and all(f"{other:.{decimals}f}".endswith("0") for other in among):
        decimals -= 1
    return f"{value:,.{decimals}f}"


def log_label(value: float) -> str:
    """A tick of a logarithmic axis: its neighbours are far away and say nothing about its decimals."""
    return f"{value:g}" if value < 1e4 or value >= 1e6 else number(value)
