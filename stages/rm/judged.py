"""The held-out pairs as a reward model and simpler judges see them.

Shapes: P held-out pairs, winner first; a `_P` is the winner's figure less the loser's. N completions, G comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from stages.modeling.backbone import Backbone
from stages.modeling.heads import ScalarHead
from stages.objectives.statistics import bootstrap_ci, paired_bootstrap
from stages.rm.answered import Answered
from stages.rm.data import Ranked, judgements, sequences
from stages.rm.standing import Interval, Standing, too_few
from stages.rollout.score import all_scores, in_batches, logprobs


@dataclass(frozen=True)
class Judged:
    """What is known of each pair. Scores are raw, as trained: their difference is the log-odds that the winner wins."""

    score_P: Tensor
    logprob_P: Tensor  # nats under the policy that the reward model starts from, summed over the answer's tokens
    token_logprob_P: Tensor  # the same, their mean
    length_P: Tensor  # tokens, end of turn included
    longer_P: Tensor  # tokens of the longer of the two, not a difference
    prompt_P: Tensor  # the number of the pair's prompt

    def __len__(self) -> int:
        return len(self.score_P)

    def select(self, chosen_P: Tensor) -> Judged:
        """The pairs where the mask is true, or those at these positions."""
        return Judged(*(getattr(self, field.name)[chosen_P] for field in fields(self)))

    @property
    def num_prompts(self) -> int:
        return len(self.prompt_P.unique())

    @property
    def too_few(self) -> str:
        """Why an interval over prompts would say nothing; empty where it says something."""
        return too_few(len(self), self.num_prompts)

    @property
    def standing(self) -> Standing:
        """What goes with the reward model, for those who are to use it."""
        return Standing(
            num_pairs=len(self),
            num_prompts=self.num_prompts,
            accuracy=self.accuracy(),
            length_rule=self.length_rule,
            over_length=self.ahead_of(self.by_length_P),
        )

    @property
    def length_rule(self) -> Literal["longer", "shorter"]:
        """Which answer wins by length alone: whatever orders more of these pairs.

        Picked on the pairs that it is judged on it is flattered a little: a reward model that beats it has earned it.
        """
        return "longer" if wins(self.length_P).mean() >= 0.5 else "shorter"

    @property
    def by_length_P(self) -> Tensor:
        """What that rule says of each pair."""
        return self.length_P if self.length_rule == "longer" else -self.length_P

    def accuracy(self, judge_P: Tensor | None = None) -> Interval:
        """The share of pairs that the reward model, or another judge of the same pairs, orders as people did."""
        return bootstrap_ci(wins(self.score_P if judge_P is None else judge_P), groups=self.prompt_P)

    def ahead_of(self, judge_P: Tensor) -> Interval:
        """By how much the reward model's accuracy exceeds that of another judge of the same pairs."""
        return paired_bootstrap(wins(self.score_P), wins(judge_P), groups=self.prompt_P)


def judge(
    backbone: Backbone, roles: tuple[str, str], head: ScalarHead, items: Sequence[Ranked]
) -> tuple[Judged, Answered]:
    """Every pair and answer of the items under the reward model and the policy it starts from (`roles`, in order)."""
    role, start = roles
    rows, people = sequences(items), judgements(items)
    score_N = all_scores(backbone, role, head, rows).double()  # in float32 a gap of 17 gives a confidence of exactly 1
    (logprobs_NR,) = in_batches(partial(logprobs, backbone, start), rows)
    logprob_N = logprobs_NR.sum(1)
    length_N = torch.tensor([len(completion) for completion in rows.completions])
    number: dict[tuple[int, ...], int] = {}  # by its text: one prompt may come in several comparisons
    prompt_G = torch.tensor([number.setdefault(tuple(item.prompt), len(number)) for item in items])

    def gap(figure_N: Tensor) -> Tensor:
        return figure_N[people.pairs_P2[:, 0]] - figure_N[people.pairs_P2[:, 1]]

    judged = Judged(
        score_P=gap(score_N),
        logprob_P=gap(logprob_N),
        token_logprob_P=gap(logprob_N / length_N),
        length_P=gap(length_N),
        longer_P=length_N[people.pairs_P2].max(1).values,
        prompt_P=prompt_G[people.group_P],
    )
    return judged, Answered.of(items, score_N, prompt_G)


def wins(gap_P: Tensor) -> Tensor:
    """1 where the winner has more, a half where both have the same, else 0."""
    return (gap_P.sign() + 1) / 2
