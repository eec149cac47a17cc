"""One order out of several annotators' rankings, where a file needs one. Training does not: it reads the votes.

Shapes: K completions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stages.agreement.judged import Floats
from stages.formats.records import Ranking
from stages.formats.rules import dense

PRIOR = 0.01  # of the squared scores: keeps what always wins, or is never compared with the rest, from running off
NUM_STEPS = 100
TOLERANCE = 1e-9
SAME = 1e-6  # scores nearer than this are one rank

Stage = tuple[Floats, Floats]  # (how often each is chosen, [K] bool: among which), a choice each


def consensus(rankings: Sequence[Ranking], prior: float = PRIOR) -> tuple[int | None, ...]:
    """The order that the rankings make likeliest, as dense ranks; None for what nobody ranked."""
    scores_K = plackett_luce_map(rankings, prior)
    ranked_K = [any(ranking.ranks[i] is not None for ranking in rankings) for i in range(len(scores_K))]
    return dense([-round(float(s) / SAME) if ranked else None for s, ranked in zip(scores_K, ranked_K, strict=True)])


def plackett_luce_map(rankings: Sequence[Ranking], prior: float = PRIOR) -> Floats:
    """Scores [K], mean 0 and higher is better, that maximise the rankings' likelihood less prior * sum of squares.

    A ranking is a row of choices, each of the best among what is left (Luce 1959, Plackett 1975), and counts by its
    weight. Of k that share a rank each is chosen from the same set, themselves included, as Breslow (1974) treats ties
    in Cox's model. A partial ranking speaks of what it ranks alone. Newton's method; the problem is strictly concave
    with prior > 0, so that there is one answer.
    """
    stages = [(chosen, left, r.weight) for r in rankings if r.weight > 0 for chosen, left in _stages(r.ranks)]
    count = len(rankings[0].ranks)
    scores_K = np.zeros(count)
    for _ in range(NUM_STEPS):
        gradient_K, hessian_KK = -2 * prior * scores_K, -2 * prior * np.eye(count)
        for chosen_K, left_K, weight in stages:
            share_K = np.where(left_K, np.exp(scores_K - scores_K[left_K].max()), 0.0)
            share_K /= share_K.sum()
            num = weight * chosen_K.sum()
            gradient_K = gradient_K + weight * chosen_K - num * share_K
            hessian_KK = hessian_KK - num * (np.diag(share_K) - np.outer(share_K, share_K))
        step_K = np.linalg.solve(hessian_KK, gradient_K)
        # A full step can overshoot where scores are far apart; one unit of log-odds at a time never does harm.
        scores_K = scores_K - step_K / max(1.0, float(np.abs(step_K).max()))
        if np.abs(step_K).max() < TOLERANCE:
            break
    return np.asarray(scores_K - scores_K.mean(), dtype=float)


def _stages(ranks: Sequence[int | None]) -> list[Stage]:
    """The choices that a ranking consists of; the last completion left is no choice."""
    given_K = np.array([np.nan if rank is None else rank for rank in ranks], float)
    found = []
    for rank in np.unique(given_K[~np.isnan(given_K)]):
        left_K = given_K >= rank
        if left_K.sum() > 1:
            found.append(((given_K == rank).astype(float), left_K))
    return found
