"""Was it worth it, and against what? Three sentences, and the comparisons that they rest on.

No candidate is called better or worse than another unless interval and test tell them apart after correction for all
comparisons made (contest.py). A difference that is not told comes with the number of questions that would tell it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pipeline.contract import Table, Verdict
from stages.evaluate.answers import Figures, with_interval
from stages.evaluate.cost.calls import CallCost, told_break_even
from stages.evaluate.verdict.contest import Contender, Contest, paired
from stages.evaluate.verdict.primary import PROXY
from stages.objectives.comparisons import Difference, difference
from stages.objectives.shares import LEVEL

TITLE = "Was it worth it?"
MOST_NEEDED = 1_000_000  # prompts: beyond, the number only means "not with this difference"


def no_verdict(primary: str | None, warnings: Sequence[str] = ()) -> Verdict:
    """Where nobody has the figure that the recipe names, or any that says which answer is better."""
    said = "No figure says which answer is better: name a task, a reward model or a judge."
    if primary is not None:
        said = f"Nobody has the figure that decides, '{primary}': see below who or what is left out, and why."
    return Verdict(TITLE, [said, *warnings])


def verdict(
    contest: Contest,
    contenders: Sequence[Contender],
    figures: Mapping[str, Figures],
    *,
    costs: Mapping[str, CallCost] | None = None,
    training_costs: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
) -> list[Verdict | Table]:
    """The verdict and its table.

    contenders: all of them, also those whom the contest lacks. figures: by candidate, for the answers' lengths.
    costs, training_costs: by candidate, in one currency; left out, the sentences do not speak of them.
    warnings: whole sentences on what tuning broke; they follow the three.
    """
    sentences = [
        _who_is_best(contest),
        _worth_it(contest, costs or {}, training_costs or {}),
        _what_to_do(contest, figures, costs or {}, warnings),
    ]
    return [Verdict(TITLE, [*sentences, *warnings]), _table(contest, contenders)]


def _who_is_best(contest: Contest) -> str:
    first, others = contest.first, [c.name for c in contest.contenders[1:]]
    what = f"{contest.figure}{' (a proxy: what PPO optimised)' if contest.figure == PROXY else ''}"
    if not others:
        return f"On {what}, {first} has {with_interval(contest.own(first))}, and there is nothing to compare it with."
    better = [name for name in others if contest.is_better(name, first)]
    if better:
        best = contest.best(better)
        found = contest.less(best, first)
        assert found is not None, "better, so compared"
        alike = [name for name in contest.as_good_as(best) if name != first]
        tail = f"; {_listed(alike)} may be as good" if alike else ""
        return (
            f"On {what}, {best} does best: {with_interval(contest.own(best))} against {_mean(contest, first)} of "
            f"{first}, {_by(found)} {_better_word(contest)} on {found.n} prompts{tail}."
        )
    leader = contest.best([first, *others])
    worse = [name for name in others if contest.is_worse(name, first)]
    tail = f"; {_listed(worse)} {'is' if len(worse) == 1 else 'are'} worse" if worse else ""
    if leader == first:
        return f"On {what}, nothing beats {first}, which has {with_interval(contest.own(first))}{tail}."
    found = contest.less(leader, first)
    if found is None:
        return f"On {what}, {leader} and {first} have no question in common{tail}."
    return (
        f"On {what}, nothing can be told apart from {first} for the better on {found.n} prompts: the best, {leader}, "
        f"differs by {_by(found)}, and {_needed(found)}{tail}."
    )


def _worth_it(contest: Contest, costs: Mapping[str, CallCost], training_costs: Mapping[str, float]) -> str:
    if not contest.tuned:
        return "Whether tuning is worth it is not asked: no tuned model is among the candidates."
    if not contest.untuned:
        return "Whether tuning is worth it cannot be said: add base to the candidates, and baselines."
    tuned, other = _champions(contest)
    found = contest.less(tuned, other)
    if found is None:
        return f"Whether tuning is worth it cannot be said: {tuned} and {other} have no question in common."
    if tuned in _worthy(contest):
        many = len(contest.untuned)
        whom = other if many == 1 else f"all {many} untuned ways of asking, and than the best of them, {other},"
        said = f"Tuning is worth it: {tuned} is better than {whom} by {_by(found)}"
    elif contest.is_worse(tuned, other):
        said = f"Tuning is not worth it: {tuned}, the best tuned, is worse than {other}, the difference {_by(found)}"
        training_costs = {}  # cheaper calls do not pay for worse answers
    else:
        said = f"Whether tuning is worth it cannot be told: {tuned} differs from {other} by {_by(found)}; "
        said += _needed(found)
    if not any(not c.is_plain for c in contest.contenders if c.name in contest.untuned):
        said += "; no better prompt, examples or retrieval was tried"
    return f"{said}{_told_cost(tuned, other, costs, training_costs)}."


def _worthy(contest: Contest) -> list[str]:
    """The tuned candidates that are better than every untuned way of asking."""
    return [t for t in contest.tuned if all(contest.is_better(t, u) for u in contest.untuned)]


def _champions(contest: Contest) -> tuple[str, str]:
    """The tuned candidate that speaks for tuning, and the untuned one that speaks against it.

    That is the best of each; but where a tuned one does not beat all, the best of those that it does not beat.
    """
    tuned = contest.best(_worthy(contest) or contest.tuned)
    unbeaten = [u for u in contest.untuned if not contest.is_better(tuned, u)]
    return tuned, contest.best(unbeaten or contest.untuned)


def _told_cost(tuned: str, other: str, costs: Mapping[str, CallCost], training_costs: Mapping[str, float]) -> str:
    if tuned not in costs or other not in costs:
        return ""
    said = f"; a call costs {costs[tuned].tokens:.0f} tokens with {tuned} and {costs[other].tokens:.0f} with {other}"
    paid = told_break_even(costs[tuned], costs[other], training_costs.get(tuned))
    return f"{said}, and training {paid}" if paid else said


def _what_to_do(
    contest: Contest, figures: Mapping[str, Figures], costs: Mapping[str, CallCost], warnings: Sequence[str]
) -> str:
    if not contest.tuned or not contest.untuned:
        better = [c.name for c in contest.contenders[1:] if contest.is_better(c.name, contest.first)]
        return f"Use {contest.best(better)}." if better else f"Keep {contest.first}."
    tuned, other = _champions(contest)
    worthy = tuned in _worthy(contest)
    if worthy:
        said = f"Use {tuned}"
    elif contest.is_worse(tuned, other):
        said = f"Use {other}, which needs no training"
    else:
        said = f"Until more prompts tell, {other} is the safe choice, for it needs no training"
        if tuned in costs and other in costs and costs[tuned].tokens < costs[other].tokens:
            saved = 1 - costs[tuned].tokens / costs[other].tokens
            said += f"; {tuned} takes {saved:.0%} fewer tokens a call, if the interval's worse end can be borne"
    said += _told_rivals(contest, tuned if worthy else other)
    said += _told_length(tuned, contest.first, figures)
    if warnings:
        said += f"; {'but first ' if worthy else ''}read what tuning broke that it was not meant to touch"
    return f"{said}."


def _told_rivals(contest: Contest, name: str) -> str:
    """Other models that did better than what is advised: they cannot say whether tuning this one is worth it."""
    others = [c.name for c in contest.contenders if not c.is_same_model and contest.best([name, c.name]) != name]
    told = [f"{other} has {_mean(contest, other)}" for other in others]
    return f"; of other models, {_listed(told)} against its {_mean(contest, name)}" if told else ""


def _told_length(name: str, first: str, figures: Mapping[str, Figures]) -> str:
    """How much longer or shorter its answers are, where that can be told."""
    lengths = [figures[one]["length"] for one in (name, first) if "length" in figures[one]]
    ours, theirs = paired(*lengths) if len(lengths) == 2 else ([], [])
    if name == first or not ours or not sum(theirs):
        return ""
    _, low, high = difference(ours, theirs)
    return f"; its answers are {sum(ours) / sum(theirs):.2g} times as long as {first}'s" if low > 0 or high < 0 else ""


def _table(contest: Contest, contenders: Sequence[Contender]) -> Table:
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
            row += [_by(found), f"{found.p:.2g}"] if found else [None, None]
        words = [_in_words(contest, name, str(other)) for other in against if name not in (first, other)]
        rows.append([*row, "; ".join(words)])
    heads = [head for other in against for head in (f"less {other}", "its p")]
    return Table(
        f"Candidates on {contest.figure}", ["candidate", contest.figure, *heads, "in words"], rows, _note(contest)
    )


def _note(contest: Contest) -> str:
    count = len(contest.tested)
    level = 1 - (1 - LEVEL) / max(1, count)
    up = "more is better" if contest.sign > 0 else "less is better"
    return (
        f"On {contest.figure} {up}. The figure has its 95% interval. Differences are paired by prompt; {count} were "
        "tested (each candidate against the first, each tuned one against every untuned way of asking the same model), "
        f"and p-values and intervals carry Holm's correction for all of them, which makes intervals as wide as "
        f"{level:.2%}. Right and wrong: McNemar's exact test and Bonett and Price's interval; else signs flipped at "
        "random and a bootstrap. Prompts needed: to see the difference found with 80% power; these show: the least "
        "difference that as many prompts as here see with it"
    )


def _in_words(contest: Contest, name: str, other: str) -> str:
    found = contest.less(name, other)
    if found is None:
        return f"not compared with {other}"
    if found.is_told:
        return f"{'better' if contest.is_better(name, other) else 'worse'} than {other}"
    shown = f", these show {found.detectable:.2g}" if found.detectable else ""  # 0: all differ alike, or none does
    return f"cannot be told apart from {other}: {_needed(found)}{shown}"


def _needed(found: Difference) -> str:
    if math.isinf(found.needed):
        return "there is no difference to look for"
    if found.needed > MOST_NEEDED:
        return "more than a million prompts would be needed"
    step = 10 ** max(0, len(str(int(found.needed))) - 2)
    return f"about {math.ceil(found.needed / step) * step:,} prompts would be needed"


def _by(found: Difference) -> str:
    return with_interval((found.mean, found.low, found.high))


def _better_word(contest: Contest) -> str:
    return "more" if contest.sign > 0 else "less"


def _mean(contest: Contest, name: str) -> str:
    return f"{contest.own(name)[0]:.3g}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
