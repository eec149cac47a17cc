"""Rows of different lengths -> padded tensors, with masks that come from lengths and never from pad ids.

Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Padded:
    """Right-padded rows: `ids_BT`, and `mask_BT` true on real tokens."""

    ids_BT: Tensor
    mask_BT: Tensor

    @property
    def last_B(self) -> Tensor:
        """The index of each row's last real token."""
        return self.mask_BT.sum(1) - 1


def right_pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """Rows of ids, each at least one long, padded on the right to the longest."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), pad_id, dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.as_tensor(row, dtype=torch.long)
    mask = torch.arange(ids.shape[1]) < lengths[:, None]
    return Padded(ids.to(device), mask.to(device))


def left_pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device | str = "cpu") -> Padded:
    """The same, padded on the left, for generation."""
    padded = right_pad([row[::-1] for row in rows], pad_id, device)
    return Padded(padded.ids_BT.flip(1), padded.mask_BT.flip(1))


def split_by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Row indices in groups of similar length, each at most `max_tokens` when padded (but at least one row).

    A function of the lengths alone, so that a resumed run makes the same groups.
    """
    order = sorted(range(len(lengths)), key=lambda index: (lengths[index], index))
    groups: list[list[int]] = []
    for index in order:
        if groups and (len(groups[-1]) + 1) * lengths[index] <= max_tokens:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups
