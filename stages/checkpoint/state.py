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
  dtype, device, attention,    written here, and a resume under others is refused unless --allow-drift is given
    torch version, threads
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.contract import Context
from pipeline.errors import UserError

FILE = "state.pt"


def write(folder: Path, state: Mapping[str, Any]) -> None:
    """Save nested dicts and lists of tensors, numbers and text."""
    with (folder / FILE).open("wb") as stream:  # given a path, torch tells a full disk by a riddle
        torch.save(dict(state), stream)


def read(folder: Path, arithmetic: str, context: Context) -> dict[str, Any]:
    """The state written there. `weights_only`: nothing in the file can run.

    `arithmetic` is all that the last digits depend on here and now; UserError if the checkpoint was written under
    another, for the run would silently become one that nobody started. Where the context allows it, it is said instead.
    """
    state = dict(torch.load(folder / FILE, weights_only=True, map_location="cpu"))
    if state["arithmetic"] != arithmetic:
        drift = f"was written with {state['arithmetic']}, and here it would go on with {arithmetic}"
        if not context.allow_drift:
            raise UserError(
                f"this checkpoint {drift}",
                where=str(folder),
                remedy="go on where it was started, allow it with --allow-drift, or start over with --force",
            )
        context.say(f"the checkpoint {drift}: allowed")
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
