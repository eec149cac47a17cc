"""Score drift: as the reward model picks the best of more answers, do people go on liking its picks?

The reward model's score is a proxy, and picking by it is optimising it, the more so the larger n. People's rankings
of the very answers it picks from are the gold; nothing is sampled. One curve must hold one set of prompts, or those
with many answers would bend it: all n are measured on the comparisons that reach the largest.

Shapes: K ranked answers of one comparison.
"""

from __future__ import annotations

from itertools import takewhile

import torch
from torch import Tensor

from pipeline.contract import Fragment, Plot, Point, Table
from stages.evaluate.answers import with_interval
from stages.objectives.best_of import best_of, best_of_kl
from stages.objectives.statistics import bootstrap_ci, paired_bootstrap
from stages.rm.answered import Answered
from stages.rm.standing import FEW_PROMPTS, Interval

SIZES = (1, 2, 4, 8, 16)
TITLE = "Best-of-n by the reward model, judged by people"
PLACEMENT = "placement by people"

Answers = tuple[Tensor, ...]  # scores and placements of one comparison's answers, [K] each


def by_best_of(answered: Answered) -> tuple[list[Fragment], dict[str, float]]:
    """The table and the curve, up to as many answers as half of the comparisons have."""
    counts = torch.unique_consecutive(answered.item_N, return_counts=True)[1].tolist()
    columns_N = (answered.prompt_N, answered.score_N, answered.placement_N)
    given = list(zip(*(own.split(counts) for own in columns_N), strict=True))
    most = sorted(counts)[len(counts) // 2]
    used = [own for own in given if len(own[0]) >= most]
    prompts, answers = [int(own[0][0]) for own in used], [own[1:] for own in used]
    heads = ["n", "KL, at most", "score of the pick", f"its {PLACEMENT}", "of the best pick there is"]
    if len(set(prompts)) < FEW_PROMPTS:
        return [Table(TITLE, heads, [[f"too few: {len(set(prompts))} prompts", *[None] * 4]])], {}

    sizes = [*takewhile(lambda n: n < most, SIZES), most]
    picks = {n: [best_of(score_K, gold_K, n) for score_K, gold_K in answers] for n in sizes}
    found = {n: bootstrap_ci(own, groups=prompts) for n, own in picks.items()}
    ceiling = {n: sum(best_of(gold_K, gold_K, n) for _, gold_K in answers) / len(used) for n in sizes}
    gains = {n: with_interval(_gain(answers, prompts, n)) for n in sizes}
    rows = [[str(n), f"{best_of_kl(n):.2f}", gains[n], with_interval(found[n]), f"{ceiling[n]:.3g}"] for n in sizes]
    points = [Point(f"best of {n}", n, *own) for n, own in found.items()]
    before = sizes[-2]
    change = paired_bootstrap(picks[most], picks[before], groups=prompts)
    note = f"{_basis(len(used), len(given), most)} {_drift(before, most, change)}"
    table = Table(TITLE, heads, rows, f"{note} {_reading()}")
    plot = Plot(TITLE, "answers to pick from (n)", PLACEMENT, points, joined=True, note=note)
    metrics = {f"heldout/best_of_{most}": found[most][0], f"heldout/best_of_{most}_ceiling": ceiling[most]}
    return [table, plot], metrics


def _gain(answers: list[Answers], prompts: list[int], n: int) -> Interval:
    """What the pick scores above the mean of its comparison's answers: scores of two prompts are not on one scale."""
    return bootstrap_ci([best_of(score_K, score_K - score_K.mean(), n) for score_K, _ in answers], groups=prompts)


def _basis(num_used: int, num_given: int, most: int) -> str:
    few = "" if num_used == num_given else f"; {num_given - num_used} with fewer are left out of the whole curve"
    pair = ". With two answers each, the last placement is the pair accuracy in other words" if most == 2 else ""
    return f"{num_used} held-out comparisons of {most} or more ranked answers{few}{pair}."


def _drift(before: int, after: int, change: Interval) -> str:
    if change[2] < 0:
        said = "people like the picks less while the score rises: the reward model is over-optimised"
    elif change[1] > 0:
        said = "people like the picks better"
    else:
        said = "no change can be told from chance"
    return f"From n = {before} to {after} the placement changes by {with_interval(change)}: {said}."


def _reading() -> str:
    return (
        "Placement: the share of the other answers to the prompt that people rank below the pick; 0.5 is a pick at "
        "random. Score: above the mean of the prompt's answers. KL in nats, from what wrote the answers, where one "
        "policy wrote them all. The best pick there is: by the same rankings. 95% intervals by bootstrap over prompts."
    )
