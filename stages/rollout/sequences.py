"""Prompts with their completions, as ids; and where each completion's tokens sit in a padded batch.

Shapes: B rows, R the longest completion, N real completion tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stages.modeling.batches import Padded, right_pad


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

    @property
    def mask_BR(self) -> Tensor:
        """True on each completion's tokens, the stop token included: it is an action too."""
        lengths = torch.tensor([len(completion) for completion in self.completions])
        return torch.arange(int(lengths.max())) < lengths[:, None]

    def padded(self, pad_id: int, device: torch.device) -> Padded:
        return right_pad([p + c for p, c in zip(self.prompts, self.completions, strict=True)], pad_id, device)

    def predictors(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each of the N completion tokens: its row, the position that predicts it, and its id."""
        rows, positions, targets = [], [], []
        for row, (prompt, completion) in enumerate(zip(self.prompts, self.completions, strict=True)):
            rows += [row] * len(completion)
            positions += range(len(prompt) - 1, len(prompt) - 1 + len(completion))
            targets += completion
        return torch.tensor(rows), torch.tensor(positions), torch.tensor(targets)

    def scatter(self, values_N: Tensor) -> Tensor:
        """Values of the completion tokens as [B, R], zero past each end. Gradients pass through."""
        mask = self.mask_BR.to(values_N.device)
        return torch.zeros(mask.shape, dtype=values_N.dtype, device=values_N.device).masked_scatter(mask, values_N)
