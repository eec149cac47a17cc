from __future__ import annotations

import pytest
import torch

from stages.objectives.moments import RunningMoments


def test_running_moments_match_golden():
    moments = RunningMoments().update(torch.tensor([1.0, 2.0, 3.0])).update(torch.tensor([10.0, 0.0]))
    assert (moments.count, moments.mean, moments.var) == pytest.approx((5, 3.2, 12.56))
    assert moments.std == pytest.approx(3.9623225513, abs=1e-10)


def test_running_moments_do_not_depend_on_how_the_stream_is_cut():
    stream = torch.randn(100, generator=torch.Generator().manual_seed(0)) + 1000
    whole, parts = RunningMoments().update(stream), RunningMoments()
    for part in stream.split(7):
        parts = parts.update(part)
    assert (parts.mean, parts.std) == pytest.approx((whole.mean, whole.std), abs=1e-9)


def test_running_moments_stay_when_a_batch_is_empty():
    moments = RunningMoments().update(torch.ones(2))
    assert moments.update(torch.ones(0)) == moments


def test_running_moments_refuse_a_spread_of_too_few_values():
    with pytest.raises(ValueError, match="too few"):
        _ = RunningMoments().var
    with pytest.raises(ValueError, match="too few"):
        _ = RunningMoments().update(torch.ones(1)).std
