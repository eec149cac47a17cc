"""What a reward model may learn by: `loss_type` and `ties` -> a loss, and which rankings that loss can read.

Each gives one loss a prompt, so that prompts weigh the same. Shapes as in data.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stages.objectives.preference import (
    group_mean,
    kwise_bradley_terry,
    kwise_rao_kupper,
    kwise_soft_bradley_terry,
    kwise_with_soft_ties,
    plackett_luce,
    tied_pairs,
)
from stages.rm.config import Config
from stages.rm.data import Judgements, Ranked


@dataclass(frozen=True)
class Loss:
    """`measure` gives loss_G from the scores of N completions; `reads` keeps of a prompt's rankings what it can use."""

    measure: Callable[[Tensor, Judgements, Config], Tensor]
    reads: Callable[[Ranked], Ranked]
    counts_votes: bool = False  # whether it reads the rankings' weights


def loss_of(config: Config) -> Loss:
    """The loss that the recipe names."""
    return LOSSES[config.loss_type, config.ties]


def _pairs(scores_N: Tensor, people: Judgements, config: Config) -> Tensor:
    return kwise_bradley_terry(scores_N, people.pairs_P2, people.group_P, smoothing=config.label_smoothing or 0.0)


def _pairs_and_soft_ties(scores_N: Tensor, people: Judgements, config: Config) -> Tensor:
    smoothing = config.label_smoothing or 0.0
    return kwise_with_soft_ties(scores_N, people.pairs_P2, people.group_P, people.tied_P, smoothing)


def _pairs_and_likely_ties(scores_N: Tensor, people: Judgements, config: Config) -> Tensor:
    assert config.theta is not None, "the config refuses rao_kupper without it"
    return kwise_rao_kupper(scores_N, people.pairs_P2, people.group_P, people.tied_P, config.theta)


def _votes(scores_N: Tensor, people: Judgements, config: Config) -> Tensor:
    voted = people.voted
    return kwise_soft_bradley_terry(scores_N, voted.pairs_P2, voted.share_P, voted.weight_P, voted.group_P)


def _rankings(scores_N: Tensor, people: Judgements, config: Config) -> Tensor:
    losses_O = torch.stack([plackett_luce(scores_N[order_K]) for order_K in people.orders])
    return group_mean(losses_O, people.group_O)


def _as_they_are(item: Ranked) -> Ranked:
    return item


def _with_ties(item: Ranked) -> Ranked:
    return replace(item, keep_ties=True)


def _heard(item: Ranked) -> Ranked:
    """Rankings of weight 0 have no vote."""
    return replace(item, rankings=tuple(r for r in item.rankings if r.weight > 0))


def _heard_with_ties(item: Ranked) -> Ranked:
    return replace(_heard(item), keep_ties=True)


def _without_tied_rankings(item: Ranked) -> Ranked:
    """A tie has no place in a sequence of choices, so a ranking that holds one is left out whole."""
    return replace(item, rankings=tuple(r for r in item.rankings if not tied_pairs(r.ranks)))


LOSSES: dict[tuple[str, str], Loss] = {
    ("bradley_terry", "drop"): Loss(_pairs, _as_they_are),
    ("bradley_terry", "soft"): Loss(_pairs_and_soft_ties, _with_ties),
    ("bradley_terry", "rao_kupper"): Loss(_pairs_and_likely_ties, _with_ties),
    ("soft_bradley_terry", "drop"): Loss(_votes, _heard, counts_votes=True),
    ("soft_bradley_terry", "soft"): Loss(_votes, _heard_with_ties, counts_votes=True),
    ("plackett_luce", "drop"): Loss(_rankings, _without_tied_rankings),
}
