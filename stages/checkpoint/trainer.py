"""The Hugging Face Trainer under our rules: metrics to one sink, stops that checkpoint, whole checkpoints.

The Trainer writes its checkpoints to a scratch folder; the callback then hashes, syncs and renames each
into the stage's checkpoint folder, and a resume names that path.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.contract import Context
from pipeline.errors import Interrupted
from stages.checkpoint import store

# What the Trainer logs once at the end, about the whole call: the manifest has its own figures for these.
NOT_LOGGED = ("train_", "total_flos", "epoch")


class StageCallback(TrainerCallback):
    """Connects one Trainer to one stage's context."""

    def __init__(self, context: Context, scratch: Path, advance: Callable[[int], None]) -> None:
        self._context, self._scratch, self._advance = context, scratch, advance
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self._advance(1)
        if self._context.should_stop() and state.global_step < state.max_steps:
            control.should_save = self._context.checkpoints is not None
            control.should_training_stop = self.stopped = True
        return control

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        metrics = {
            name: float(value)
            for name, value in (logs or {}).items()
            if isinstance(value, (int, float)) and not name.startswith(NOT_LOGGED)
        }
        if metrics and state.is_world_process_zero:
            self._context.log_metrics(state.global_step, metrics)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder = self._context.checkpoints
        written = self._scratch / f"checkpoint-{state.global_step}"
        if folder is None or not state.is_world_process_zero:
            return
        store.save(folder, state.global_step, lambda place: _move_into(written, place))


def train(trainer: Any, context: Context, scratch: Path, description: str) -> None:
    """Run the trainer from the newest good checkpoint, if any, to its end; raises Interrupted on a stop."""
    start = store.newest(context.checkpoints, context.say)
    if start:
        context.say(f"going on from step {start[0]}")
        context.rewind(start[0])
    total = _total_steps(trainer)
    with context.progress(description, total) as advance:
        if start:
            advance(start[0])
        callback = StageCallback(context, scratch, advance)
        trainer.add_callback(callback)
        trainer.train(resume_from_checkpoint=str(start[1]) if start else None)
    shutil.rmtree(scratch, ignore_errors=True)
    if callback.stopped:
        raise Interrupted("stopped; a checkpoint is written", remedy="run the same command again to go on")


def _total_steps(trainer: Any) -> int:
    if trainer.args.max_steps > 0:
        return int(trainer.args.max_steps)
    batches = len(trainer.get_train_dataloader())
    steps = max(batches // trainer.args.gradient_accumulation_steps, 1)
    return max(round(steps * trainer.args.num_train_epochs), 1)


def _move_into(source: Path, target: Path) -> None:
    for item in source.iterdir():
        shutil.move(str(item), str(target / item.name))
    source.rmdir()
