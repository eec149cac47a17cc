"""Prompts with their completions, as ids; and where each completion's tokens sit among a batch's hidden states.

Shapes: B rows, R the longest completion, N real completion tokens of a batch, M tokens of a forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from stages.modeling.ragged import Group, Ragged


@dataclass(frozen=True)
class Sequences:
    """B prompts and their completions. A completion that ended holds its stop token as its last id."""

    prompts: list[list[int]]
    completions: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompts)

    def select(self, rows: Sequence[int]) -> Sequences:
        return Sequences([self.prompts[i] for i in rows], [self.completions[i] for i in rows])

    @property
    def lengths(self) -> list[int]:
        """Prompt and completion tokens of each row."""
        return [len(p) + len(c) for p, c in zip(self.prompts, self.completions, strict=True)]

    @cached_property
    def mask_BR(self) -> Tensor:
        """True on each completion's tokens, the stop token included: it is an action too."""
        lengths = torch.tensor([len(completion) for completion in self.completions])
        return torch.arange(int(lengths.max())) < lengths[:, None]

    @cached_property
    def _groups(self) -> dict[tuple[int, ...], list[int]]:
        """The rows of each prompt; equal prompts are computed once."""
        found: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(self.prompts):
            found.setdefault(tuple(prompt), []).append(row)
        return found

    @cached_property
    def ragged(self) -> Ragged:
        """What a forward reads."""
        return Ragged(
            [Group(list(prompt), [self.completions[row] for row in rows]) for prompt, rows in self._groups.items()]
        )

    @cached_property
    def _places(self) -> list[tuple[int, int]]:
        """For each row, where its prompt's last token and its completion's first token lie among the M tokens."""
        places = [(0, 0)] * len(self)
        for group, (rows, starts) in enumerate(zip(self._groups.values(), self.ragged.starts, strict=True)):
            last = self.ragged.place(group, len(self.prompts[rows[0]]) - 1)
            for row, start in zip(rows, starts[1:], strict=True):
                places[row] = last, start
        return places

    @cached_property
    def last_B(self) -> Tensor:
        """The place of each row's last token."""
        rows = zip(self._places, self.completions, strict=True)
        return torch.tensor([start + len(c) - 1 if c else last for (last, start), c in rows])

    @cached_property
    def predictors(self) -> tuple[Tensor, Tensor]:
        """For each of the N completion tokens, row by row: the place of the state that predicts it, and its id."""
        places, targets = [], []
        for (last, start), completion in zip(self._places, self.completions, strict=True):
            if completion:
                places += [last, *range(start, start + len(completion) - 1)]
            targets += completion
        return torch.tensor(places), torch.tensor(targets)

    def scatter(self, values_N: Tensor) -> Tensor:
        """Values of the completion tokens as [B, R], zero past each end. Gradients pass through."""
        mask = self.mask_BR.to(values_N.device)
        return torch.zeros(mask.shape, dtype=values_N.dtype, device=values_N.device).masked_scatter(mask, values_N)
