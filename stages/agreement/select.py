"""What to ask annotators next. Every choice keeps a random part, so that there is always data to judge without bias.

What the evidence says (November 2026). It is thin, and mostly about language models in people's place:
for      choosing prompts and pairs by the Fisher information of a reward model's last layer beats random choice
         (arXiv 2502.04354); pairs with a large predicted gap trained better reward models than random ones, .339
         against .278, where a duelling bandit's pairs reached .223 (arXiv 2603.09692, a judge model).
against  the spread of reward models that share one base did not beat random choice, and tells their errors at a
         correlation of .36 at best (Gleave and Irving 2022, arXiv 2203.07472); random choice is hard to beat in online
         DPO (arXiv 2604.02766).
So `random` is the default, and the other two are there for who can measure, on the random part, whether they help.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from pipeline.errors import DataError, nearest
from stages.agreement.judged import pair_wins
from stages.formats.records import Ranking

RANDOM_SHARE = 0.2
BETA = 1.0  # deviations of a gap that count as hope


@dataclass(frozen=True)
class Candidate:
    """A prompt with its completions, and what the caller knows of it. The strategy that needs a field says so."""

    key: str
    source: str = ""  # where the prompt is from
    length: float = 0.0  # in any unit, one for all
    means: tuple[float, ...] = ()  # predicted score of each completion
    sds: tuple[float, ...] = ()  # how unsure each of them is, in the same units
    rankings: tuple[Ranking, ...] = ()  # by people, so far


@dataclass(frozen=True)
class Selected:
    """A candidate to be annotated, and how it came to be."""

    key: str
    by: str  # random, or the strategy
    propensity: float  # the probability of being in the random part: the same for every candidate, drawn or not
    score: float | None = None  # the strategy's, where it has one for this candidate
    completions: tuple[int, int] | None = None  # the two to show; None: all


@dataclass(frozen=True)
class Scored:
    """What a strategy says of a candidate."""

    score: float
    completions: tuple[int, int] | None = None


Strategy = Callable[[Candidate], Scored | None]  # None: nothing to be learnt here


def select(candidates: Sequence[Candidate], num: int, strategy: str = "random", seed: int = 0) -> list[Selected]:
    """At most `num` candidates in their given order: RANDOM_SHARE of them drawn from all, the rest by the strategy.

    The random part is drawn first and from everything, so it stands for everything; whatever else is chosen does not.
    There are fewer than `num` where the strategy has nothing more to ask. DataError for an unknown strategy, a `num`
    under 1, or a candidate without what the strategy reads.
    """
    if strategy not in STRATEGIES or num < 1:
        raise DataError(
            f"is {strategy!r} for {num} tasks; {', '.join(STRATEGIES)} and at least one task are allowed",
            where="select",
            remedy=nearest(strategy, STRATEGIES),
        )
    num = min(num, len(candidates))
    scored = {c.key: found for c in candidates if (found := STRATEGIES[strategy](c)) is not None}
    num_random = num if strategy == "random" else math.ceil(RANDOM_SHARE * num)
    drawn = {candidates[i].key for i in stratified(candidates, num_random, seed)}
    best = sorted((key for key in scored if key not in drawn), key=lambda key: -scored[key].score)
    chosen = set(best[: num - num_random])
    propensity = num_random / len(candidates) if candidates else 0.0
    return [
        _selected(c.key, "random" if c.key in drawn else strategy, propensity, scored.get(c.key))
        for c in candidates
        if c.key in drawn or c.key in chosen
    ]


def stratified(candidates: Sequence[Candidate], num: int, seed: int = 0) -> list[int]:
    """Positions of `num` candidates, each as likely as any other, spread evenly over sources and lengths.

    Systematic sampling: every (N / num)-th of a list in which those of one source and one third of its lengths stand
    together in random order, from a random start. Each is drawn with probability exactly num / N.
    """
    generator = np.random.default_rng(seed)
    order = sorted(range(len(candidates)), key=lambda i: (candidates[i].source, candidates[i].length))
    thirds: dict[int, tuple[str, int]] = {}
    for source in dict.fromkeys(candidates[i].source for i in order):
        own = [i for i in order if candidates[i].source == source]
        thirds |= {i: (source, 3 * place // len(own)) for place, i in enumerate(own)}
    shuffled = sorted((int(i) for i in generator.permutation(len(candidates))), key=lambda i: thirds[i])
    step = len(candidates) / num if num else 1.0
    start = generator.uniform(0, step)
    return sorted(shuffled[min(int(start + k * step), len(candidates) - 1)] for k in range(num))


def _selected(key: str, by: str, propensity: float, scored: Scored | None) -> Selected:
    """What is drawn at random is shown whole: a pair chosen by its gap would make it a biased sample of pairs."""
    pair = scored.completions if scored and by != "random" else None
    return Selected(key, by, propensity, scored.score if scored else None, pair)


def _nothing(candidate: Candidate) -> Scored | None:
    return None


def _gap(candidate: Candidate) -> Scored:
    """The pair with the largest hoped-for gap: mu_i - mu_j + BETA * sd of the difference (DeltaUCB, arXiv 2603.09692).

    For: clear pairs are judged reliably, and gave better reward models there. Against: they are also those that the
    reward model knows already, and they were judged by a model.
    """
    means, sds = candidate.means, candidate.sds or (0.0,) * len(candidate.means)
    if len(means) < 2 or len(sds) != len(means) or not all(map(math.isfinite, (*means, *sds))):
        raise DataError(
            f"has {len(means)} predicted scores and {len(candidate.sds)} deviations; a finite one a completion is "
            "needed for `gap`",
            where=f"prompt {candidate.key}",
            remedy="give a reward model to score by, or choose at random",
        )
    pairs = permutations(range(len(means)), 2)
    hopes = {(i, j): means[i] - means[j] + BETA * math.hypot(sds[i], sds[j]) for i, j in pairs}
    best = max(hopes, key=lambda pair: hopes[pair])
    return Scored(hopes[best], best)


def _disagreement(candidate: Candidate) -> Scored | None:
    """Where two people differ, a third vote; the more they differ, the sooner. Nothing where they agree or one judged.

    For: a second opinion is worth most where the first two are a tie. Against: what people differ on is in part what
    cannot be decided, and no vote teaches that it is.
    """
    if len(candidate.rankings) < 2:
        return None
    given = [[np.nan if rank is None else rank for rank in ranking.ranks] for ranking in candidate.rankings]
    wins_AP = pair_wins(np.array(given, float))
    judged_P = (~np.isnan(wins_AP)).sum(0) > 1
    if not judged_P.any():
        return None
    apart = float(np.mean(np.nanmax(wins_AP[:, judged_P], 0) - np.nanmin(wins_AP[:, judged_P], 0)))
    return Scored(apart) if apart > 0 else None


STRATEGIES: dict[str, Strategy] = {"random": _nothing, "gap": _gap, "disagreement": _disagreement}
