"""The state of our own training loops: one file, read back without unpickling code."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import PosttuneError, UserError

FILE = "state.pt"


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Save nested dicts and lists of tensors, numbers and text."""
    torch.save(dict(state), folder / FILE)


@contextmanager
def reading(folder: Path, arithmetic: str) -> Iterator[dict[str, Any]]:
    """The state written there, to be restored inside. `weights_only`: nothing in the file can run.

    `arithmetic` is the dtype, device and attention in use now; UserError if the checkpoint was written under another,
    for the run would silently become one that nobody started; or if it does not hold what its stage saves.
    """
    try:
        state = dict(torch.load(folder / FILE, weights_only=True, map_location="cpu"))
        _check_arithmetic(folder, state["arithmetic"], arithmetic)
        yield state
    except (PosttuneError, torch.OutOfMemoryError):
        raise
    except (
        pickle.UnpicklingError,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
    ) as error:
        raise UserError(
            f"this checkpoint does not hold what its stage saves ({_first_line(error)})",
            where=str(folder / FILE),
            remedy=f"delete {folder.name}, to go on from the checkpoint before it, or start over with --force",
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:120]}"


def _check_arithmetic(folder: Path, written: str, arithmetic: str) -> None:
    if written != arithmetic:
        raise UserError(
            f"this checkpoint was written with {written}, and here it would go on with {arithmetic}",
            where=str(folder),
            remedy="go on where it was started, set model.dtype, or start over with --force",
        )


def tensors(parameters: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Detached copies on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in parameters.items()}


def restore(parameters: Mapping[str, torch.Tensor], saved: Mapping[str, torch.Tensor]) -> None:
    """Copy saved values into parameters of the same names and shapes; ValueError where they are others."""
    shapes = [{name: tensor.shape for name, tensor in given.items()} for given in (parameters, saved)]
    if shapes[0] != shapes[1]:
        raise ValueError("other parameters")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(saved[name])


def restore_optimizer(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Give the optimizer its moments back; ValueError where they are those of other parameters."""
    optimizer.load_state_dict(dict(saved))
    for parameter, moments in optimizer.state.items():
        if any(moments[name].shape != parameter.shape for name in ("exp_avg", "exp_avg_sq")):
            raise ValueError("moments of other parameters")
