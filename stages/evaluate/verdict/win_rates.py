"""Win rates beside what they would be if both answers were as long."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.contract import Table
from stages.evaluate.answers import Figures, with_interval
from stages.evaluate.verdict.contest import paired
from stages.objectives.comparisons import interval
from stages.objectives.win_rate import length_controlled_win_rate


def win_rate_table(figures: Mapping[str, Figures]) -> tuple[Table | None, dict[str, float]]:
    """Every win rate against the first candidate, plain and at equal lengths, and the latter as metrics.

    (None, {}) where there is no win rate.
    """
    first, rows, metrics = next(iter(figures)), [], {}
    for name, own in figures.items():
        for figure in (figure for figure in own if figure.startswith("win rate")):
            wins, longer = paired(own[figure], _longer(own, figures[first]))
            if not wins:
                continue
            controlled = length_controlled_win_rate(wins, longer)
            by = f"{sum(longer) / len(longer):+.1f}"
            rows.append([name, figure, with_interval(interval(wins)), with_interval(controlled), by])
            metrics[f"{name}/length_controlled_{figure.replace(' ', '_')}"] = controlled[0]
    if not rows:
        return None, {}
    note = (
        f"Against {first}; a tie counts half; 95% intervals. At equal lengths: a logistic regression of the preference "
        "on the difference of the lengths, read at a difference of 0 (length-controlled AlpacaEval, Dubois et al. "
        "2024, without its difficulty of each instruction)"
    )
    columns = ["candidate", "figure", "as judged", "at equal lengths", "mean difference in tokens"]
    return Table("Win rates that a longer answer does not win", columns, rows, note), metrics


def _longer(ours: Figures, theirs: Figures) -> list[float | None]:
    """By how many tokens each answer is longer."""
    lengths = zip(ours["length"], theirs["length"], strict=True)
    return [None if a is None or b is None else a - b for a, b in lengths]
