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


def _rankings(scores_N: Tensor, people: Judgements, config: Config) -> Tensor:
    losses_O = torch.stack([plackett_luce(scores_N[order_K]) for order_K in people.orders])
    return group_mean(losses_O, people.group_O)


def _as_they_are(item: Ranked) -> Ranked:
    return item


def _with_ties(item: Ranked) -> Ranked:
    return replace(item, keep_ties=True)


def _without_tied_rankings(item: Ranked) -> Ranked:
    """A tie has no place in a sequence of choices, so a ranking that holds one is left out whole."""
    return replace(item, rankings=tuple(r for r in item.rankings if not tied_pairs(r.ranks)))


LOSSES: dict[tuple[str, str], Loss] = {
    ("bradley_terry", "drop"): Loss(_pairs, _as_they_are),
    ("bradley_terry", "soft"): Loss(_pairs_and_soft_ties, _with_ties),
    ("bradley_terry", "rao_kupper"): Loss(_pairs_and_likely_ties, _with_ties),
    ("plackett_luce", "drop"): Loss(_rankings, _without_tied_rankings),
}
