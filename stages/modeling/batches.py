"""Rows of different lengths -> groups of similar length, and padded tensors for generation.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """Left-padded rows: `ids_BT`, and `mask_BT` true on real tokens, from lengths and never from pad ids."""

    ids_BT: Tensor
    mask_BT: Tensor


def left_pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Rows of ids, each at least one long, padded on the left to the longest."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), pad_id, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, ids.shape[1] - len(row) :] = torch.as_tensor(row, dtype=torch.long)
    mask = torch.arange(ids.shape[1]) >= ids.shape[1] - lengths[:, None]
    return Padded(ids.to(device), mask.to(device))


def split_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Row indices in groups of similar length, each of at most `max_tokens` tokens in all (but at least one row).

    A function of the lengths alone, so that a resumed run makes the same groups.
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    groups: list[list[int]] = []
    room = 0
    for index in order:
        if groups and lengths[index] <= room:
            groups[-1].append(index)
        else:
            groups.append([index])
            room = max_tokens
        room -= lengths[index]
    return groups
