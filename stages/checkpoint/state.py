"""The state of our own training loops: one file, read back without unpickling code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError

FILE = "state.pt"


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Save nested dicts and lists of tensors, numbers and text."""
    with (folder / FILE).open("wb") as stream:
        try:
            torch.save(dict(state), stream)
        except RuntimeError as error:  # "unexpected pos": how torch says that a write failed, a full disk for one
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def read(folder: Path, arithmetic: str) -> dict[str, Any]:
    """The state written there. `weights_only`: nothing in the file can run.

    `arithmetic` is the dtype, device and attention in use now; UserError if the checkpoint was written under another,
    for the run would silently become one that nobody started.
    """
    state = dict(torch.load(folder / FILE, weights_only=True, map_location="cpu"))
    if state["arithmetic"] != arithmetic:
        raise UserError(
            f"this checkpoint was written with {state['arithmetic']}, and here it would go on with {arithmetic}",
            where=str(folder),
            remedy="go on where it was started, set model.dtype, or start over with --force",
        )
    return state


def tensors(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Detached copies on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in parameters.items()}


def restore(parameters: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Copy saved values into parameters of the same names."""
    assert parameters.keys() == saved.keys(), "a checkpoint belongs to the config in its fingerprint"
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])
