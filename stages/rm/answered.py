"""The held-out answers one by one, beside what people made of them.

Shapes: N completions of G comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.contract import Table
from stages.agreement.judged import normalised
from stages.evaluate.answers import with_interval
from stages.objectives.within import correlation_within
from stages.rm.data import Ranked
from stages.rm.standing import FEW_PROMPTS


@dataclass(frozen=True)
class Answered:
    """Each completion's figures; those that nobody ranked are left out."""

    score_N: Tensor  # raw, as trained
    length_N: Tensor  # tokens, end of turn included
    placement_N: Tensor  # the share of the other answers to its prompt that people rank below it, see `placements`
    item_N: Tensor  # the number of its comparison
    prompt_N: Tensor  # the number of its prompt: one prompt may come in several comparisons

    @classmethod
    def of(cls, items: Sequence[Ranked], score_N: Tensor, prompt_G: Tensor) -> Answered:
        """From the scores of all completions in the order of `sequences`."""
        length_N = torch.tensor([len(completion) for item in items for completion in item.completions])
        item_N = torch.arange(len(items)).repeat_interleave(torch.tensor([len(item.completions) for item in items]))
        placement_N = torch.cat([placements(item) for item in items])
        kept_N = ~placement_N.isnan()
        return cls(*(own[kept_N] for own in (score_N, length_N, placement_N, item_N, prompt_G[item_N])))


def placements(item: Ranked) -> Tensor:
    """1 for an answer that every annotator puts above all others they ranked, 0 below all; a tie counts half.

    The mean over the annotators who ranked it; NaN where none did. An answer picked at random gets 0.5.
    """
    by_annotator = [1 - normalised(np.array([np.nan if r is None else r for r in own.ranks])) for own in item.rankings]
    return torch.tensor(np.array(by_annotator)).nanmean(0)


def with_length(answered: Answered) -> tuple[Table, dict[str, float]]:
    """Whether longer answers to the same prompt score higher, and whether people rank them higher."""
    title, columns = "Scores and length", ["what", "correlation with an answer's tokens, within a prompt"]
    num_prompts = len(answered.prompt_N.unique())
    note = f"{len(answered.score_N)} answers to {num_prompts} prompts, each less its prompt's mean"
    if num_prompts < FEW_PROMPTS:
        return Table(title, columns, [["the reward model's score", f"too few: {num_prompts} prompts"]], note), {}
    score, people = (
        correlation_within(figure_N, answered.length_N, answered.prompt_N)
        for figure_N in (answered.score_N, answered.placement_N)
    )
    note += ". A score that follows length more than people's rankings do pays for length that nobody asked for"
    rows = [["the reward model's score", with_interval(score)], ["people's rankings", with_interval(people)]]
    metrics = dict(zip(("", "_low", "_high"), score, strict=True))
    figures = {f"heldout/score_length_correlation{end}": value for end, value in metrics.items()}
    return Table(title, columns, rows, note), {**figures, "heldout/rank_length_correlation": people[0]}
