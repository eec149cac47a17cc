"""The state of our own training loops: one file, read back without unpickling code.

What the rest of a run depends on, and how a resume has it again (tests/chaos compares every bit):

  weights, adapters, heads     written here, in their own dtype; a frozen base is read again from where it was
  AdamW's moments and step     written here (optimizer.state_dict)
  learning rate                a function of the step (training/loop.py, ppo/update.py): no scheduler has a state
  loss scaler                  none: bfloat16 needs none, and float16 is not offered
  place in the data            a function of the step: an epoch's order is drawn from the seed (training/loop.schedule)
  random numbers               a function of the seed and a purpose (streams.py); dropout's seed is one of the step
  steps skipped in a row       written here
  PPO: rollout in use, epoch,  written here, the tensors as they were: a rollout is not sampled twice
    minibatch, metrics so far
  PPO: KL coefficient, the     written here
    value head's scale, sums of
    the linear critic, alarms
  running moments              none: scores are normalised once, by the reward model's own figures
  logged metrics, W&B run id   metrics.jsonl is cut back to the checkpoint's step; state.json has the id
  dtype, attention, processor, written here, and a resume under others is refused unless --allow-drift is given
    threads, torch, transformers
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.contract import Context
from pipeline.errors import PosttuneError, UserError, first_line

FILE = "state.pt"


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Save nested dicts and lists of tensors, numbers and text."""
    with (folder / FILE).open("wb") as stream:  # given a path, torch tells a full disk by a riddle
        torch.save(dict(state), stream)


@contextmanager
def reading(folder: Path, arithmetic: str, context: Context) -> Iterator[dict[str, Any]]:
    """The state written there, to be restored inside. `weights_only`: nothing in the file can run.

    `arithmetic` is all that the last digits depend on here and now; UserError if the checkpoint was written under
    another, for the run would silently become one that nobody started. Where the context allows it, it is said instead.
    UserError also for one that does not hold what its stage saves.
    """
    try:
        state = dict(torch.load(folder / FILE, weights_only=True, map_location="cpu"))
        _check_arithmetic(folder, state["arithmetic"], arithmetic, context)
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
            f"this checkpoint does not hold what its stage saves ({type(error).__name__}: {first_line(error)})",
            where=str(folder / FILE),
            remedy=f"delete {folder.name}, to go on from the checkpoint before it, or start over with --force",
        ) from error


def _check_arithmetic(folder: Path, written: str, arithmetic: str, context: Context) -> None:
    if written == arithmetic:
        return
    drift = f"was written with {written}, and here it would go on with {arithmetic}"
    if not context.allow_drift:
        raise UserError(
            f"this checkpoint {drift}",
            where=str(folder),
            remedy="go on where it was started, allow it with --allow-drift, or start over with --force",
        )
    context.say(f"the checkpoint {drift}: allowed")


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
