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
from stages.evaluate.verdict.table import comparison_table, told_difference, told_needed
from stages.objectives.comparisons import difference

TITLE = "Was it worth it?"
FEW = 0.05  # of the tokens of a call: not worth a word


def no_verdict(primary: str | None, warnings: Sequence[str] = (), cautions: Sequence[str] = ()) -> Verdict:
    """Where nobody has the figure that the recipe names, or any that says which answer is better."""
    said = "No figure says which answer is better: name a task, a reward model or a judge."
    if primary is not None:
        said = f"Nobody has the figure that decides, '{primary}': see below who or what is left out, and why."
    return Verdict(TITLE, [said, *warnings, *cautions])


def verdict(
    contest: Contest,
    contenders: Sequence[Contender],
    figures: Mapping[str, Figures],
    *,
    costs: Mapping[str, CallCost] | None = None,
    training_costs: Mapping[str, float] | None = None,
    warnings: Sequence[str] = (),
    cautions: Sequence[str] = (),
) -> list[Verdict | Table]:
    """The verdict and its table.

    contenders: all of them, also those whom the contest lacks. figures: by candidate, for the answers' lengths.
    costs, training_costs: by candidate, in one currency; left out, the sentences do not speak of them.
    warnings: whole sentences on what tuning broke; they follow the three.
    cautions: the same on how the verdict was come by (cautions.py); they end it.
    """
    sentences = [
        _who_is_best(contest),
        _worth_it(contest, costs or {}, training_costs or {}),
        _what_to_do(contest, figures, costs or {}, training_costs or {}, warnings),
    ]
    return [Verdict(TITLE, [*sentences, *warnings, *cautions]), comparison_table(contest, contenders)]


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
            f"{first}, {told_difference(found)} {_better_word(contest)} on {found.n} prompts{tail}."
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
        f"differs by {told_difference(found)}, and {told_needed(found)}{tail}."
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
        said = f"Tuning is worth it: {tuned} is better than {whom} by {told_difference(found)}"
    elif contest.is_worse(tuned, other):
        said = f"Tuning is not worth it: {tuned}, the best tuned, is worse than {other}, the difference "
        said += told_difference(found)
        training_costs = {}  # cheaper calls do not pay for worse answers
    else:
        said = f"Whether tuning is worth it cannot be told: {tuned} differs from {other} by {told_difference(found)}; "
        said += told_needed(found)
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
    contest: Contest,
    figures: Mapping[str, Figures],
    costs: Mapping[str, CallCost],
    training_costs: Mapping[str, float],
    warnings: Sequence[str],
) -> str:
    if not any(value for values in contest.values.values() for value in values):
        return f"Use none of them yet: nobody has any {contest.figure}."
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
        saved = 1 - costs[tuned].tokens / costs[other].tokens if tuned in costs and other in costs else 0.0
        if saved > FEW:
            said += f"; {tuned} takes {saved:.0%} fewer tokens a call, if the interval's worse end can be borne"
    said += _told_cheaper(contest, tuned, training_costs) if worthy else ""
    said += _told_rivals(contest, tuned if worthy else other)
    said += _told_length(tuned, contest.first, figures)
    if warnings:
        said += f"; {'but first ' if worthy else ''}read what tuning broke that it was not meant to touch"
    return f"{said}."


def _told_cheaper(contest: Contest, name: str, training_costs: Mapping[str, float]) -> str:
    """Tuned ones that may be as good, asked as plainly, and cost less to train."""
    plain = [c.name for c in contest.contenders if c.is_tuned and c.is_plain and c.name in contest.as_good_as(name)]
    cheaper = [other for other in plain if training_costs.get(other, math.inf) < training_costs.get(name, 0.0)]
    return (
        f"; {_listed(cheaper)} may serve as well, and cost{'s' * (len(cheaper) == 1)} less to train" if cheaper else ""
    )


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


def _better_word(contest: Contest) -> str:
    return "more" if contest.sign > 0 else "less"


def _mean(contest: Contest, name: str) -> str:
    return f"{contest.own(name)[0]:.3g}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
