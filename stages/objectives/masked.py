"""Means and moments over the slots that count. What a masked slot holds, NaN included, never reaches the result."""

from __future__ import annotations

from torch import Tensor


def masked_mean(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Mean of the values where the mask is True: sum(values * mask) / sum(mask).

    values, mask: one shape; the mask is bool or 0/1. dim: reduce this dimension only; None reduces all to a scalar.
    Raises ValueError where there is nothing to average: the shapes differ, or a mean would have no True slot.
    """
    kept = _kept(values, mask)
    count = kept.sum() if dim is None else kept.sum(dim)
    if not bool((count > 0).all()):
        raise ValueError("masked_mean has no True slot to average over: drop the empty rows first")
    visible = values.masked_fill(~kept, 0)
    return (visible.sum() if dim is None else visible.sum(dim)) / count


def masked_var(values: Tensor, mask: Tensor) -> Tensor:
    """Biased variance (divided by the count) over all True slots; a scalar. Raises as masked_mean."""
    mean = masked_mean(values, mask)
    return masked_mean((values - mean) ** 2, mask)


def standardize(values: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """Mean 0 and variance 1 over the True slots, exactly 0 elsewhere: (x - mean) / sqrt(var + eps).

    Advantages are standardised once over the whole rollout batch, before it is split: per minibatch, gradient
    accumulation would not be equivalent. Equal values give 0, not NaN. Raises as masked_mean.
    """
    kept = _kept(values, mask)
    centred = values - masked_mean(values, kept)
    return (centred / (masked_var(values, kept) + eps).sqrt()).masked_fill(~kept, 0)


def rescale(values: Tensor, mask: Tensor, eps: float = 1e-8) -> Tensor:
    """Variance 1 with the mean kept, exactly 0 outside the mask: (x - mean) / sqrt(var + eps) + mean.

    This is the reward whitening of lm-human-preferences (`shift_mean=False` elsewhere). It divides the KL penalty
    too, so the effective KL coefficient drifts with the batch. Raises as masked_mean.
    """
    kept = _kept(values, mask)
    return (standardize(values, kept, eps) + masked_mean(values, kept)).masked_fill(~kept, 0)


def _kept(values: Tensor, mask: Tensor) -> Tensor:
    if values.shape != mask.shape:
        raise ValueError(f"values {tuple(values.shape)} and mask {tuple(mask.shape)} differ in shape")
    return mask.bool()
