"""The optimizer loop of every stage that learns from fixed data: sft, rm and dpo.

A step is a list of micro-batches of item numbers, and a function of the config, the seed and the number of
processes, so that a resume needs only the step's number. An objective says what an item weighs (its trained
tokens, or 1) and adds a micro-batch's gradient, divided by the weight of the *whole* step: how a step is cut
into micro-batches, or dealt to processes, then changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from pipeline.contract import Context, Saving
from pipeline.errors import Interrupted, StageFailed
from stages.checkpoint import state as checkpoint
from stages.checkpoint import store
from stages.checkpoint.streams import permutation, stream
from stages.training.processes import Processes

MAX_SKIPPED = 3  # steps in a row whose gradient is not finite before the run gives up
Step = list[list[int]]  # micro-batches of item numbers


@dataclass(frozen=True)
class Objective:
    """What is learnt: `weight` of one item, and `backward`, which accumulates a micro-batch's gradient.

    `backward(items, total)` divides by `total`, the weight of all items of the step; the figures it gives are
    divided in the same way, so that their sum over the step's micro-batches is the step's mean.
    """

    weight: Callable[[int], float]
    backward: Callable[[list[int], float], Mapping[str, float]]
    names: Sequence[str]  # of those figures


@dataclass(frozen=True)
class Settings:
    """How it is learnt. `groups` are parameters by name with their peak learning rates."""

    purpose: str  # names the random streams and the progress bar
    arithmetic: str  # the backbone's: a resume under another is refused
    groups: Sequence[tuple[Mapping[str, nn.Parameter], float]]
    steps: Sequence[Step]
    lr_scheduler_type: str = "linear"
    warmup_steps: float = 0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    saving: Saving = field(default_factory=Saving)
    logging_steps: int = 1
    counted: Mapping[str, Callable[[int], float]] = field(default_factory=dict)  # running totals over items, logged
    notes: dict[str, Any] = field(default_factory=dict)  # of who listens to the metrics; a checkpoint keeps them


class Batching(Protocol):
    """What `schedule` reads of a stage's config."""

    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    num_train_epochs: float
    max_steps: int | None


def schedule(config: Batching, num_items: int, seed: int, purpose: str, num_processes: int) -> list[Step]:
    """Each optimizer step's micro-batches, over all processes.

    Every epoch has its own order. Its last step may be smaller, so that no item is skipped.
    """
    size = config.per_device_train_batch_size
    accumulation = config.gradient_accumulation_steps * num_processes
    num_parts = math.ceil(num_items / size)
    total = config.max_steps or math.ceil(round(math.ceil(num_parts / accumulation) * config.num_train_epochs, 6))
    steps: list[Step] = []
    epoch = 0
    while len(steps) < total:
        order = permutation(num_items, seed, purpose, "order", epoch)
        an_epoch = [order[start : start + size] for start in range(0, num_items, size)]
        steps += [an_epoch[start : start + accumulation] for start in range(0, num_parts, accumulation)]
        epoch += 1
    return steps[:total]


def fit(settings: Settings, objective: Objective, context: Context) -> None:
    """Take all steps, from the newest good checkpoint on; raises Interrupted, with one written, on a stop."""
    processes = Processes.join()
    parameters = {name: p for group, _ in settings.groups for name, p in group.items()}
    optimizer = torch.optim.AdamW(
        [{"params": list(group.values()), "lr": rate} for group, rate in settings.groups],
        weight_decay=settings.weight_decay,
        fused=True,
    )
    saver = store.Saver(context.checkpoints if context.chief else None, settings.saving)
    step, skipped = _resume(settings, context, parameters, optimizer, processes)
    totals = {name: _total(settings.steps[:step], count) for name, count in settings.counted.items()}
    with context.progress(settings.purpose, len(settings.steps)) as advance:
        advance(step)
        while step < len(settings.steps):
            factor = rate_factor(step, len(settings.steps), settings.warmup_steps, settings.lr_scheduler_type)
            for group, (_, peak) in zip(optimizer.param_groups, settings.groups, strict=True):
                group["lr"] = peak * factor
            figures = _gradient(objective, settings.steps[step], processes, context, (settings.purpose, step))
            processes.sum_gradients(parameters.values())
            norm = float(torch.nn.utils.clip_grad_norm_(list(parameters.values()), settings.max_grad_norm))
            figures["stop"] = float(context.should_stop())
            figures = processes.sum(figures, [*objective.names, "stop"])
            skipped = _apply(optimizer, math.isfinite(norm), skipped, settings.purpose)
            for name, count in settings.counted.items():
                totals[name] += _total([settings.steps[step]], count)
            step += 1
            advance(1)
            last, stop = step == len(settings.steps), figures.pop("stop") > 0 and step < len(settings.steps)
            if context.chief and (step % settings.logging_steps == 0 or last):
                rate = optimizer.param_groups[0]["lr"]
                context.log_metrics(step, {**figures, **totals, "grad_norm": norm, "learning_rate": rate})
            if stop or last or saver.is_due(step):
                saver.save(step, partial(_write, settings, skipped, parameters, optimizer))
            if stop:
                processes.wait()  # for the one that writes
                raise Interrupted("stopped; a checkpoint is written", remedy="run the same command again to go on")


def rate_factor(step: int, total: int, warmup: float, kind: str) -> float:
    """The share of the peak learning rate: a linear warm-up, then constant, or falling to 0 linearly or as a cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(total - warmup, 1)
    return {"constant": 1.0, "linear": 1 - done, "cosine": 0.5 * (1 + math.cos(math.pi * done))}[kind]


def _gradient(
    objective: Objective, step: Step, processes: Processes, context: Context, purpose: tuple[str, int]
) -> dict[str, float]:
    """This process's share of the step's gradient; the figures are sums over its micro-batches."""
    total = sum(objective.weight(item) for part in step for item in part)
    figures: dict[str, float] = {}
    with torch.random.fork_rng(
        devices=processes.devices
    ):  # dropout, where there is any, is a function of the step and the process
        torch.manual_seed(stream(context.seed, *purpose, "dropout", processes.rank).initial_seed())
        for part in step[processes.rank :: processes.count]:
            for name, value in objective.backward(part, total).items():
                figures[name] = figures.get(name, 0.0) + value
    return figures


def _apply(optimizer: torch.optim.Optimizer, usable: bool, skipped: int, purpose: str) -> int:
    """Step, unless a gradient is not finite; returns how many steps in a row were not."""
    if usable:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    skipped = 0 if usable else skipped + 1
    if skipped == MAX_SKIPPED:
        raise StageFailed(
            f"the gradient was not finite {MAX_SKIPPED} times in a row",
            where=purpose,
            remedy="lower learning_rate, or look for extreme rows in the data",
        )
    return skipped


def _total(steps: Sequence[Step], count: Callable[[int], float]) -> float:
    return sum(count(item) for step in steps for part in step for item in part)


def _write(
    settings: Settings, skipped: int, parameters: Mapping[str, Any], optimizer: torch.optim.Optimizer, folder: Path
) -> None:
    state = {
        "arithmetic": settings.arithmetic,
        "parameters": checkpoint.tensors(parameters),
        "optimizer": optimizer.state_dict(),
        "skipped": skipped,
        "notes": settings.notes,
    }
    checkpoint.write(folder, state)


def _resume(
    settings: Settings,
    context: Context,
    parameters: Mapping[str, Any],
    optimizer: torch.optim.Optimizer,
    processes: Processes,
) -> tuple[int, int]:
    """Restore the newest good checkpoint; returns the steps it has done, and how many of the last were skipped."""
    if not context.chief:
        processes.wait()  # the chief first: it sets damaged checkpoints aside
    found = store.newest(context.checkpoints, context.say)
    if context.chief:
        processes.wait()
    if found is None:
        context.rewind(0)
        return 0, 0
    step, folder = found
    with checkpoint.reading(folder, settings.arithmetic, context) as state:
        checkpoint.restore(parameters, state["parameters"])
        checkpoint.restore_optimizer(optimizer, state["optimizer"])
        settings.notes.update(state.get("notes", {}))
        skipped = int(state["skipped"])
    context.rewind(step)
    context.say(f"going on from step {step}")
    return step, skipped
