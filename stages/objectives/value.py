"""The value model's losses and what is logged about it. Values and returns are in units of the normalised score."""

from __future__ import annotations

import torch
from torch import Tensor

from stages.objectives.masked import masked_mean, masked_var

CONSTANT = 1e-12  # a variance that rounding alone explains


def value_loss(values: Tensor, returns: Tensor) -> Tensor:
    """(values - returns)^2 / 2, unreduced; any one shape."""
    return 0.5 * (values - returns) ** 2


def clipped_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float) -> Tensor:
    """The larger of the losses of the value and of the value held within clip_range of the old one; unreduced.

    0.5 * max((v - R)^2, (clip(v, v_old - c, v_old + c) - R)^2), as in lm-human-preferences; any one shape.
    clip_range is in reward units: 0.2 suits scores of variance 1 and freezes the value model at other scales.
    Gradients flow through values. clip_range -> inf is value_loss.
    """
    return torch.maximum(value_loss(values, returns), value_loss(_clipped(values, old_values, clip_range), returns))


@torch.no_grad()
def value_clip_fraction(values: Tensor, old_values: Tensor, returns: Tensor, clip_range: float, mask: Tensor) -> Tensor:
    """Share in [0, 1] of the tokens where the clipped loss is the larger one, so that no gradient flows."""
    clipped = value_loss(_clipped(values, old_values, clip_range), returns)
    return masked_mean((clipped > value_loss(values, returns)).to(values.dtype), mask)


@torch.no_grad()
def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(returns - values) / Var(returns) over the True slots; at most 1.

    1 is a perfect critic, 0 one no better than a constant, below 0 worse. NaN or -inf where the returns are constant.
    """
    return 1 - masked_var(returns - values, mask) / masked_var(returns, mask)


@torch.no_grad()
def fitted_scale(values: Tensor, returns: Tensor, mask: Tensor) -> tuple[float, float]:
    """(offset, slope) for which offset + slope * values is nearest to the returns over the True slots, least squares.

    values, returns, mask: one shape; both in units of the normalised score. The slope is held between 0 and 1: values
    that say nothing about the returns, or the opposite, become the returns' mean, and chance does not blow up those
    that hardly differ. Constant values say nothing of a scale and are only moved. Raises as masked_mean.
    """
    value_mean, return_mean = masked_mean(values, mask), masked_mean(returns, mask)
    variance = masked_var(values, mask)
    covariance = masked_mean((values - value_mean) * (returns - return_mean), mask)
    slope = min(max(float(covariance / variance), 0.0), 1.0) if variance > CONSTANT else 1.0
    return float(return_mean) - slope * float(value_mean), slope


def _clipped(values: Tensor, old_values: Tensor, clip_range: float) -> Tensor:
    return torch.clamp(values, old_values - clip_range, old_values + clip_range)
