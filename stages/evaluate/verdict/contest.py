"""Every comparison that a verdict may speak of, made once and corrected together.

Each candidate is compared with the first, and each tuned one with every untuned way of asking the same model: one
family, with Holm's correction over all of it. So the best baseline may be picked on the same questions on which tuning
is held against it: a tuned candidate must be told apart from each of them, not from the one that chance put first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from stages.evaluate.answers import Figures
from stages.evaluate.verdict.primary import direction, values_of
from stages.objectives.comparisons import Difference, compare, difference, interval
from stages.objectives.shares import LEVEL


@dataclass(frozen=True)
class Contender:
    """A candidate as the verdict sees it."""

    name: str
    is_tuned: bool  # an artifact that a stage trained, however it is asked
    is_plain: bool  # gets the question and nothing else
    is_same_model: bool = True  # not: an endpoint, which says nothing about whether tuning this model is worth it


@dataclass(frozen=True)
class Contest:
    """The contenders on one figure. The first one is what all are compared with."""

    figure: str
    contenders: Sequence[Contender]  # those that have the figure
    values: Mapping[str, list[float | None]]
    tested: Mapping[tuple[str, str], Difference]  # (a, b): the mean of a - b, over questions that both have

    @property
    def first(self) -> str:
        return self.contenders[0].name

    @cached_property
    def tuned(self) -> list[str]:
        return [c.name for c in self.contenders if c.is_tuned]

    @cached_property
    def untuned(self) -> list[str]:
        """The ways of asking the model that was tuned, without tuning."""
        return [c.name for c in self.contenders if not c.is_tuned and c.is_same_model]

    @property
    def best_untuned(self) -> str | None:
        return self.best(self.untuned) if self.untuned else None

    def own(self, name: str) -> tuple[float, float, float]:
        """(mean, low, high) of the figure."""
        return interval([value for value in self.values[name] if value is not None])

    def best(self, names: Sequence[str]) -> str:
        """The one with the best mean; the earlier of two alike."""
        return max(names, key=lambda name: self.sign * fmean(v for v in self.values[name] if v is not None))

    @property
    def sign(self) -> int:
        return direction(self.figure)

    def is_better(self, name: str, other: str) -> bool:
        """Told apart, and for the better."""
        found = self.less(name, other)
        return found is not None and found.is_told and self.sign * found.mean > 0

    def is_worse(self, name: str, other: str) -> bool:
        """Told apart, and for the worse."""
        return self.is_better(other, name)

    def less(self, name: str, other: str) -> Difference | None:
        """The mean of name - other; None where the two were not compared."""
        if (name, other) in self.tested:
            return self.tested[name, other]
        found = self.tested.get((other, name))
        return None if found is None else replace(found, mean=-found.mean, low=-found.high, high=-found.low)

    def as_good_as(self, name: str) -> list[str]:
        """Those that may be as good as the one named: it is not better at 1 - 0.05 / (their number), by Bonferroni."""
        others = [c.name for c in self.contenders if c.name != name]
        level = 1 - (1 - LEVEL) / max(1, len(others))
        found = []
        for other in others:
            _, low, high = difference(*paired(self.values[name], self.values[other]), level)
            if (low if self.sign > 0 else -high) <= 0:
                found.append(other)
        return found


def hold(figures: Mapping[str, Figures], contenders: Sequence[Contender], figure: str) -> Contest:
    """Make all comparisons. Contenders without the figure are left out, and pairs with no question in common."""
    values = values_of(figures, figure)
    present = [c for c in contenders if c.name in values]
    first = present[0].name
    untuned = [c.name for c in present if not c.is_tuned and c.is_same_model]
    wanted = [(c.name, first) for c in present[1:]]
    wanted += [(c.name, u) for c in present if c.is_tuned for u in untuned if first not in (c.name, u)]
    pairs = {(a, b): paired(values[a], values[b]) for a, b in wanted}
    pairs = {names: both for names, both in pairs.items() if both[0]}
    return Contest(figure, present, values, dict(zip(pairs, compare(list(pairs.values())), strict=True)))


def paired(a: Sequence[float | None], b: Sequence[float | None]) -> tuple[list[float], list[float]]:
    """The values of both on the questions that both have."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    return [x for x, _ in both], [y for _, y in both]
