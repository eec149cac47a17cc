"""Who reads carefully? Dawid and Skene's model (1979) of two-sided choices, fitted by expectation-maximisation.

Every pair of completions has a true winner. An annotator says "left" with one probability where the left one truly
wins, and with another where the right one does; left is what was shown first to that annotator. Sides are shuffled, so
a habit of a side and a lack of care come apart: somebody who always says left has 1 and 1, somebody careful nearly 1
and 0, somebody who has the scale upside down nearly 0 and 1.

Shapes: V votes, A annotators, P pairs. Pairs of one ranking count as if they were judged apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Any

import numpy as np

from stages.agreement.judged import Floats, Integers, kind_of
from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, is_usable

MIN_PAIRS = 30  # that others judged too; with fewer, an annotator's two probabilities are guesses
NUM_STEPS = 200
PRIOR = (2.0, 1.0)  # two votes right and one wrong before any: names the winner's side, and keeps logarithms finite


@dataclass(frozen=True)
class Skill:
    """What one annotator says, given the true winner."""

    left_when_left: float
    left_when_right: float
    num_pairs: int

    @property
    def care(self) -> float:
        """1 always right, 0 says nothing about the winner, -1 always wrong (Youden's J)."""
        return self.left_when_left - self.left_when_right


@dataclass(frozen=True)
class SidedVotes:
    """Votes for one of two sides."""

    pair_V: Integers
    annotator_V: Integers
    left_V: Any  # [V] bool: the vote is for the left
    first_is_left_V: Any  # [V] bool: the pair's first completion was on the left


def skills(batch: Batch, answers: Sequence[Answer]) -> Mapping[str, Skill]:
    """Everybody with MIN_PAIRS pairs that somebody else ordered too, in normal tasks. Ties are no votes."""
    names, votes = _votes(batch, answers)
    if not len(votes.pair_V):
        return {}
    left_A2, _ = dawid_skene(votes, len(names))
    counts_A = np.bincount(votes.annotator_V, minlength=len(names))
    return {
        name: Skill(float(left_A2[a, 0]), float(left_A2[a, 1]), int(counts_A[a]))
        for a, name in enumerate(names)
        if counts_A[a] >= MIN_PAIRS
    }


def weights(found: Mapping[str, Skill]) -> dict[str, float]:
    """How much each annotator's votes count: care over the middle annotator's care, and 0 for who is no help.

    Whoever is not in `found` is to count 1, as the middle one does. Nobody is left out by this: a weight of 0 stays in
    the rows for people to see and to decide on.
    """
    careful = [skill.care for skill in found.values() if skill.care > 0]
    if not careful:
        return {name: 0.0 for name in found}
    return {name: round(max(0.0, skill.care) / median(careful), 3) for name, skill in found.items()}


def dawid_skene(votes: SidedVotes, num_annotators: int) -> tuple[Floats, Floats]:
    """([A, 2] P(says left | left wins), P(says left | right wins); [P] P(the pair's first completion wins))."""
    num_pairs = int(votes.pair_V.max()) + 1
    left_V, upright_V = votes.left_V.astype(float), np.where(votes.first_is_left_V, 1.0, -1.0)
    for_first_V = (votes.left_V == votes.first_is_left_V).astype(float)
    first_P = np.bincount(votes.pair_V, for_first_V, num_pairs) / np.bincount(votes.pair_V, minlength=num_pairs)
    left_A2 = np.empty((num_annotators, 2))
    for _ in range(NUM_STEPS):
        left_wins_V = np.where(votes.first_is_left_V, first_P[votes.pair_V], 1 - first_P[votes.pair_V])
        for side, wins_V, (said, not_said) in ((0, left_wins_V, PRIOR), (1, 1 - left_wins_V, PRIOR[::-1])):
            said_A = np.bincount(votes.annotator_V, wins_V * left_V, num_annotators) + said
            left_A2[:, side] = said_A / (np.bincount(votes.annotator_V, wins_V, num_annotators) + said + not_said)
        said_V2 = np.where(votes.left_V[:, None], left_A2[votes.annotator_V], 1 - left_A2[votes.annotator_V])
        evidence_V = upright_V * np.log(said_V2[:, 0] / said_V2[:, 1])
        before, first_P = first_P, (1 + np.tanh(np.bincount(votes.pair_V, evidence_V, num_pairs) / 2)) / 2
        if np.abs(first_P - before).max() < 1e-6:
            break
    return left_A2, first_P


def _votes(batch: Batch, answers: Sequence[Answer]) -> tuple[list[str], SidedVotes]:
    """Every vote on a pair that two or more annotators order."""
    given: dict[tuple[str, str, str], list[tuple[str, bool, bool]]] = {}
    for answer in answers:
        if kind_of(batch, answer.task_id) != "normal" or not is_usable(answer):
            continue
        ids = batch.by_id[answer.task_id].ids
        place = {name: i for i, name in enumerate(answer.shown or sorted(ids))}  # ids are random: no side is favoured
        for one, other in combinations(ids, 2):
            ranked = one in answer.ranks and other in answer.ranks and one in place and other in place
            if ranked and answer.ranks[one] != answer.ranks[other]:
                first_is_left = place[one] < place[other]
                left = (answer.ranks[one] < answer.ranks[other]) == first_is_left
                given.setdefault((answer.task_id, one, other), []).append((answer.annotator, left, first_is_left))
    shared = [own for own in given.values() if len(own) > 1]
    names = sorted({name for own in shared for name, _, _ in own})
    number = {name: a for a, name in enumerate(names)}
    rows = [(p, number[name], left, first) for p, own in enumerate(shared) for name, left, first in own]
    table = np.array(rows, int).reshape(-1, 4)
    return names, SidedVotes(table[:, 0], table[:, 1], table[:, 2].astype(bool), table[:, 3].astype(bool))
