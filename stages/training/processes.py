"""Several processes that train one model: which one this is, and sums over all of them.

The gradient of a step is summed, not averaged: every term is already divided by what the whole step
holds, so that two processes take the step that one would have taken.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import distributed, nn


@dataclass(frozen=True)
class Processes:
    """This process's number among `count`."""

    rank: int = 0
    count: int = 1

    @classmethod
    def join(cls) -> Processes:
        """Meet the processes that `torch.distributed.run` has started beside this one, if it has."""
        count = int(os.environ.get("WORLD_SIZE", "1"))
        if count == 1:
            return cls()
        if not distributed.is_initialized():
            if torch.cuda.is_available():
                torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
            distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        return cls(distributed.get_rank(), count)

    @property
    def devices(self) -> list[int]:
        """The GPU of this process, if it has one, by number."""
        return [torch.cuda.current_device()] if torch.cuda.is_available() else []

    def wait(self) -> None:
        """Until all processes are here."""
        if self.count > 1:
            distributed.barrier()

    def sum_tensor(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum over all processes, on the CPU."""
        if self.count == 1:
            return tensor
        moved = tensor.to("cuda" if torch.cuda.is_available() else "cpu")
        distributed.all_reduce(moved)
        return moved.cpu()

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Every parameter's gradient becomes the sum over all processes; one that had no part counts as zero."""
        if self.count == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            distributed.all_reduce(parameter.grad)

    def sum(self, numbers: Mapping[str, float], names: Iterable[str]) -> dict[str, float]:
        """Each named number summed over all processes; one that this process lacks counts as zero."""
        if self.count == 1:
            return dict(numbers)
        names = list(names)
        together = torch.tensor([numbers.get(name, 0.0) for name in names], dtype=torch.float64)
        return dict(zip(names, self.sum_tensor(together).tolist(), strict=True))
