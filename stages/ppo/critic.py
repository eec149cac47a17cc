"""A value model without a trunk of its own: least squares on the reward model's states, which are computed anyway.

Returns of a few hundred answers hold little about values in mid-answer, and a critic trained on the batch it judges
learns those returns by heart: on the help desk one that explained 0.6 of its batch's variance predicted the next
batch worse than a constant. So what sets an answer's values apart from the mean is learnt from other prompts alone, and
the penalty is the one that predicts best across all; with little to learn from, that leaves the mean.

Shapes: N tokens, D hidden size, F folds of the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from stages.formats.records import content_id

FOLDS = 4
PENALTIES = tuple(10.0**power for power in range(-4, 6))  # times a state's mean variance; the largest leave the mean
DECAY = 0.9  # of what was learnt, an iteration: the policy moves on


class LinearCritic:
    """Ridge regression of returns on states, from sums that are kept for each fold of the prompts."""

    def __init__(self, size: int) -> None:
        # Each token counts as a row (1, state, return); its outer products add up to all that a fit needs.
        self.sums_FRR = torch.zeros(FOLDS, size + 2, size + 2, dtype=torch.float64)

    def values(self, prompts: Sequence[Sequence[int]], states: Sequence[Tensor], returns: Sequence[Tensor]) -> Tensor:
        """Learn from this batch, and value it: one number a token, answer after answer, [N].

        `states` and `returns` hold each answer's tokens, [tokens, D] and [tokens]. A value is the mean return of this
        batch and those before it, and a deviation fitted on the other folds. (The mean may hold the answer's own
        return: it weighs one over the number of answers, and at lambda 1 standardised advantages lose it anyway.)
        """
        folds = [int(content_id(list(prompt)), 16) % FOLDS for prompt in prompts]
        self.sums_FRR *= DECAY
        for fold, state_ND, return_N in zip(folds, states, returns, strict=True):
            ones_N1 = torch.ones(len(return_N), 1)
            rows_NR = torch.cat([ones_N1, state_ND.float(), return_N[:, None].float()], dim=1).double()
            self.sums_FRR[fold] += rows_NR.T @ rows_NR
        total_RR = self.sums_FRR.sum(0)
        mean_R = total_RR[0] / total_RR[0, 0]
        fits = [_Fit(total_RR - own_RR) for own_RR in self.sums_FRR]
        errors = [sum(fit.error(p, own) for fit, own in zip(fits, self.sums_FRR, strict=True)) for p in PENALTIES]
        penalty = PENALTIES[errors.index(min(errors))]
        deviations = [
            (state_ND.double() - mean_R[1:-1]) @ fits[fold].weights(penalty)
            for fold, state_ND in zip(folds, states, strict=True)
        ]
        return (torch.cat(deviations) + mean_R[-1]).float()

    def state(self) -> Any:
        """For a checkpoint."""
        return self.sums_FRR

    def restore(self, state: Any) -> None:
        self.sums_FRR = state


class _Fit:
    """The fits of one set of sums, for any penalty."""

    def __init__(self, sums_RR: Tensor) -> None:
        count = sums_RR[0, 0].clamp_min(1)
        self.mean_D, self.mean_return = sums_RR[0, 1:-1] / count, sums_RR[0, -1] / count
        covariance_DD = sums_RR[1:-1, 1:-1] / count - self.mean_D[:, None] * self.mean_D
        self.values_D, self.vectors_DD = torch.linalg.eigh(covariance_DD)
        self.scale = float(self.values_D.mean().clamp_min(1e-12))
        self.along_D = self.vectors_DD.T @ (sums_RR[1:-1, -1] / count - self.mean_D * self.mean_return)

    def weights(self, penalty: float) -> Tensor:
        return self.vectors_DD @ (self.along_D / (self.values_D.clamp_min(0) + penalty * self.scale))

    def error(self, penalty: float, sums_RR: Tensor) -> float:
        """The squared error, summed over the rows of other sums."""
        weights_D = self.weights(penalty)
        residual_R = torch.cat([(weights_D @ self.mean_D - self.mean_return)[None], -weights_D, torch.ones(1).double()])
        return float(residual_R @ sums_RR @ residual_R)
