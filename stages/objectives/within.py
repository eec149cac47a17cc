"""Correlation inside groups, such as among the answers to one prompt, with an interval that knows of the groups."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.objectives.statistics import draws, percentiles


@torch.no_grad()
def correlation_within(
    a_N: Tensor, b_N: Tensor, group_N: Tensor, num_resamples: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """(r, low, high): Pearson's r of a and b, each less its group's mean; a 95 % interval by bootstrap over groups.

    What differs from group to group, such as hard prompts that make answers both long and low in score, has no part in
    it. Values of one group are not independent, so Fisher's interval would be too narrow. Nothing is known,
    (0, -1, 1), where one of them does not vary inside any group. Raises ValueError if the lengths differ.
    """
    if not len(a_N) == len(b_N) == len(group_N):
        raise ValueError(f"every value needs its partner and its group: {len(a_N)}, {len(b_N)}, {len(group_N)}")
    _, group_N = torch.unique(group_N, return_inverse=True)
    a_N, b_N = _centred(a_N.double(), group_N), _centred(b_N.double(), group_N)
    products_N3 = torch.stack([a_N * b_N, a_N * a_N, b_N * b_N], 1)
    sums_G3 = torch.zeros(int(group_N.max()) + 1, 3, dtype=torch.float64).index_add(0, group_N, products_N3)
    if bool((sums_G3[:, 1:].sum(0) < 1e-12).any()):  # rounding leaves a constant's deviations a little off 0
        return 0.0, -1.0, 1.0
    drawn = draws(len(sums_G3), num_resamples, seed, width=3)
    r_R = torch.cat([_r(sums_G3[drawn_RG].sum(1)) for drawn_RG in drawn])
    return float(_r(sums_G3.sum(0, keepdim=True))), *percentiles(r_R)


def _centred(values_N: Tensor, group_N: Tensor) -> Tensor:
    sum_G = torch.zeros(int(group_N.max()) + 1, dtype=torch.float64).index_add(0, group_N, values_N)
    return values_N - (sum_G / group_N.bincount())[group_N]


def _r(sums_R3: Tensor) -> Tensor:
    """0 for a resample in which one of the two does not vary."""
    return (sums_R3[:, 0] / (sums_R3[:, 1] * sums_R3[:, 2]).sqrt()).nan_to_num(0.0)
