"""Macro F1 with its interval: a figure of all questions together, so that no mean over questions gives it.

Shapes: N questions, L labels, R resamples. A label is any hashable value. `given` may hold what is no label (None, or
one that no question wants): it is a miss of the label wanted, and no false alarm of another.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import torch
from torch import Tensor

from stages.objectives.statistics import draws, percentiles

Interval = tuple[float, float, float]


def macro_f1(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> float:
    """Mean over the labels that are wanted at least once of F1 = 2 TP / (given + wanted), each label's own counts.

    0 where nothing is right, 1 where all is. sklearn's f1_score(average="macro") agrees if its `labels` are those
    wanted; left out, it also averages in each label that is only given, with F1 0. Raises ValueError without questions,
    or if the lengths differ.
    """
    given_N, wanted_N, num_labels = _coded(given, wanted)
    everyone = torch.arange(len(wanted_N))[None]
    return float(_macro_f1(given_N, wanted_N, everyone, num_labels))


def macro_f1_interval(
    given: Sequence[Hashable], wanted: Sequence[Hashable], num_resamples: int = 2000, seed: int = 0
) -> Interval:
    """(macro F1, low, high): with the 95 % percentile interval over resampled questions (Efron 1979).

    A label that a resample happens not to want is no part of its mean.
    """
    given_N, wanted_N, num_labels = _coded(given, wanted)
    resampled_R = torch.cat(
        [
            _macro_f1(given_N, wanted_N, drawn, num_labels)
            for drawn in _draws(len(wanted_N), num_labels, num_resamples, seed)
        ]
    )
    return macro_f1(given, wanted), *percentiles(resampled_R)


def macro_f1_difference(
    a: Sequence[Hashable],
    b: Sequence[Hashable],
    wanted: Sequence[Hashable],
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """(macro F1 of a less that of b, low, high): two candidates on the same questions, resampled together."""
    a_N, wanted_N, num_labels = _coded(a, wanted)
    b_N, _, _ = _coded(b, wanted)
    resampled_R = torch.cat(
        [
            _macro_f1(a_N, wanted_N, drawn, num_labels) - _macro_f1(b_N, wanted_N, drawn, num_labels)
            for drawn in _draws(len(wanted_N), num_labels, num_resamples, seed)
        ]
    )
    return macro_f1(a, wanted) - macro_f1(b, wanted), *percentiles(resampled_R)


def _coded(given: Sequence[Hashable], wanted: Sequence[Hashable]) -> tuple[Tensor, Tensor, int]:
    """Both as numbers from 0 to L - 1, and L for what is given and is none of the labels wanted."""
    if len(given) != len(wanted) or not wanted:
        raise ValueError(f"macro F1 needs questions, and one label given for each: {len(given)} for {len(wanted)}")
    codes: dict[Hashable, int] = {}
    wanted_N = torch.tensor([codes.setdefault(label, len(codes)) for label in wanted])
    return torch.tensor([codes.get(label, len(codes)) for label in given]), wanted_N, len(codes)


def _macro_f1(given_N: Tensor, wanted_N: Tensor, drawn_RN: Tensor, num_labels: int) -> Tensor:
    """Of each resample, [R]."""
    offset_R1 = torch.arange(len(drawn_RN))[:, None] * (num_labels + 1)

    def counts_RL(label_N: Tensor, weight_N: Tensor | None = None) -> Tensor:
        flat = (label_N[drawn_RN] + offset_R1).flatten()
        weights = None if weight_N is None else weight_N[drawn_RN].flatten()
        counts = torch.bincount(flat, weights, minlength=len(drawn_RN) * (num_labels + 1))
        return counts.double().view(len(drawn_RN), num_labels + 1)[:, :num_labels]

    wanted_RL = counts_RL(wanted_N)
    right_RL = counts_RL(wanted_N, (given_N == wanted_N).double())
    f1_RL = 2 * right_RL / (wanted_RL + counts_RL(given_N)).clamp(min=1)
    present_RL = wanted_RL > 0
    return (f1_RL * present_RL).sum(1) / present_RL.sum(1)


def _draws(num_questions: int, num_labels: int, num_resamples: int, seed: int) -> Iterator[Tensor]:
    """The questions of each resample; its counts of the labels, when those are more, decide on the chunks."""
    return draws(num_questions, num_resamples, seed, width=max(1, math.ceil((num_labels + 1) / num_questions)))
