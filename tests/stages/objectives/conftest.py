"""The worked example that the golden values of several files share: two answers, of four tokens and of three."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

LEAK = 9.9  # held by every masked slot, so that a leak shows


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """These tensors are tiny: on a busy machine, threads waiting for each other made these tests 25 times slower."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def rows(first: list[float], second: list[float], fill: float = LEAK) -> Tensor:
    return torch.tensor([[*first, fill], [*second, fill, fill]], dtype=torch.float64)


@dataclass(frozen=True)
class Example:
    mask: Tensor
    logprobs: Tensor
    ref_logprobs: Tensor
    scores: Tensor
    values: Tensor
    rewards: Tensor
    advantages: Tensor
    returns: Tensor
    whitened: Tensor
    new_logprobs: Tensor
    new_values: Tensor


@pytest.fixture
def example() -> Example:
    """Inputs and the printed results of earlier steps, so that each step is tested from literals."""
    return Example(
        mask=rows([1, 1, 1, 1], [1, 1, 1], fill=0).bool(),
        logprobs=rows([-1, -0.5, -2, -0.1], [-0.7, -1.2, -0.3]),
        ref_logprobs=rows([-1.2, -0.4, -1.5, -0.3], [-0.9, -1, -0.3], fill=-LEAK),
        scores=torch.tensor([2, -1], dtype=torch.float64),
        values=rows([0.5, 0.4, 0.6, 1], [0.1, -0.2, -0.5]),
        rewards=rows([-0.01, 0.005, 0.025, 1.99], [-0.01, 0.01, -1], fill=-LEAK),  # r - V must not be 0 there
        advantages=rows([1.31711375, 1.502225, 1.3655, 0.99], [-1.03675, -0.765, -0.5]),
        returns=rows([1.81711375, 1.902225, 1.9655, 1.99], [-0.93675, -0.965, -1]),
        whitened=rows([0.87204237, 1.05008334, 0.91858052, 0.55742265], [-1.39191614, -1.13054557, -0.87566717]),
        new_logprobs=rows([-0.9, -0.9, -1.6, -0.1], [-0.2, -1.25, -0.9], fill=-LEAK),
        new_values=rows([0.9, 0.45, 0.3, 1.1], [0.15, -0.6, -0.45], fill=-LEAK),
    )
