"""A linear head that reads one number off a hidden state: a score, or a value."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.errors import ModelError

FILE = "head.safetensors"


class ScalarHead(nn.Module):
    """hidden [..., D] -> [...], in float32, without a bias.

    The affine part holds the reward normalisation: score = (raw - mean) / std.
    """

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(hidden_size, dtype=torch.float32))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float32))
        self.register_buffer("std", torch.ones((), dtype=torch.float32))

    def initialise(self, generator: torch.Generator) -> ScalarHead:
        """N(0, 1/sqrt(D+1)) as in lm-human-preferences."""
        size = self.weight.numel()
        with torch.no_grad():
            self.weight.copy_(torch.randn(size, generator=generator) / (size + 1) ** 0.5)
        return self

    def raw(self, hidden: Tensor) -> Tensor:
        """The score before normalisation."""
        return hidden.float() @ self.weight

    def forward(self, hidden: Tensor) -> Tensor:
        return (self.raw(hidden) - self.mean) / self.std

    @torch.no_grad()
    def rescale(self, offset: float, slope: float) -> None:
        """From now on give offset + slope * what would have been given. Steps of its own weights keep their reach."""
        self.weight.mul_(slope)
        self.mean.mul_(slope).sub_(offset * self.std)

    def save(self, folder: Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in self.state_dict().items()}, folder / FILE)

    @classmethod
    def load(cls, folder: Path, hidden_size: int) -> ScalarHead:
        """Read a head saved beside an adapter; ModelError where there is none, or it is not one for these states."""
        file = folder / FILE
        if not file.is_file():
            raise ModelError(
                "there is no score head here",
                where=str(folder),
                remedy="name the output of an rm stage: an adapter alone gives random scores",
            )
        head = cls(hidden_size)
        try:
            head.load_state_dict(load_file(file))
        except (SafetensorError, RuntimeError) as error:
            raise _no_head(file, f"cannot be read as one ({' '.join(str(error).split())[:200]})") from error
        if not all(tensor.isfinite().all() for tensor in head.state_dict().values()) or head.std <= 0:
            raise _no_head(file, "gives scores that are not finite")
        return head


def _no_head(file: Path, problem: str) -> ModelError:
    return ModelError(f"this score head {problem}", where=str(file), remedy="name the output of an rm stage, whole")
