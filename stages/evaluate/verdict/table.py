"""The comparisons that a verdict rests on, as a table and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pipeline.contract import Table
from stages.evaluate.answers import with_interval
from stages.evaluate.verdict.contest import Contender, Contest
from stages.objectives.comparisons import Difference
from stages.objectives.shares import LEVEL

MOST_NEEDED = 1_000_000  # prompts: beyond, the number only means "not with this difference"
NEEDED_NOTE = (
    ". Prompts needed: to see the difference found with 80% power; these show: the least difference that as many "
    "prompts as here see with it"
)


def comparison_table(contest: Contest, contenders: Sequence[Contender]) -> Table:
    """Every contender against the first and the best untuned way; without the figure, with empty cells."""
    first, best = contest.first, contest.best_untuned
    against = [first] if best in (None, first) else [first, best]
    rows: list[list[str | float | None]] = []
    for contender in contenders:
        name = contender.name
        if name not in contest.values:
            rows.append([name, None, *[None] * (2 * len(against)), "no such figure"])
            continue
        row: list[str | float | None] = [name, with_interval(contest.own(name))]
        for other in against:
            found = contest.less(name, str(other)) if name != first else None
            row += [told_difference(found), f"{found.p:.2g}"] if found else [None, None]
        words = [_in_words(contest, name, str(other)) for other in against if name not in (first, other)]
        rows.append([*row, "; ".join(words)])
    heads = [head for other in against for head in (f"less {other}", "its p")]
    note = _note(contest) + (NEEDED_NOTE if any("would be needed" in str(row[-1]) for row in rows) else "")
    return Table(f"Candidates on {contest.figure}", ["candidate", contest.figure, *heads, "in words"], rows, note)


def _note(contest: Contest) -> str:
    count, values = len(contest.tested), contest.values[contest.first]
    having = sum(value is not None for value in values)
    whose = f", which {having} of {len(values)} prompts can have," if having < len(values) else ""
    level = 1 - (1 - LEVEL) / max(1, count)
    up = "more is better" if contest.sign > 0 else "less is better"
    return (
        f"On {contest.figure}{whose} {up}. The figure has its 95% interval. Differences are paired by prompt; {count} "
        "were tested (each candidate against the first, each tuned one against every untuned way of asking the same "
        "model, but not the tuned ones against each other), and p-values and intervals carry Holm's correction for all "
        f"of them: the smallest p is corrected most, with an interval of {level:.2%}, so equal differences can have "
        "unlike intervals. Right and wrong: McNemar's exact test and Bonett and Price's interval; else signs flipped "
        "at random and a bootstrap"
    )


def _in_words(contest: Contest, name: str, other: str) -> str:
    found = contest.less(name, other)
    if found is None:
        return f"not compared with {other}"
    if found.is_told:
        return f"{'better' if contest.is_better(name, other) else 'worse'} than {other}"
    shown = f", these show {found.detectable:.2g}" if found.detectable else ""  # 0: all differ alike, or none does
    return f"cannot be told apart from {other}: {told_needed(found)}{shown}"


def told_needed(found: Difference) -> str:
    """How many prompts it would take to tell this difference."""
    if math.isinf(found.needed):
        return "there is no difference to look for"
    if found.needed > MOST_NEEDED:
        return "more than a million prompts would be needed"
    step = 10 ** max(0, len(str(int(found.needed))) - 2)
    return f"about {math.ceil(found.needed / step) * step:,} prompts would be needed"


def told_difference(found: Difference) -> str:
    """It, with its interval."""
    return with_interval((found.mean, found.low, found.high))
