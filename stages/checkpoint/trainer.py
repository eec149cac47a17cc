"""The Hugging Face Trainer under our rules: metrics to one sink, stops that checkpoint, whole checkpoints.

The Trainer writes its checkpoints to a scratch folder; the callback then hashes, syncs and renames each
into the stage's checkpoint folder, and a resume names that path.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from pipeline.contract import Artifact, Context
from pipeline.errors import Interrupted
from stages.checkpoint import store

# What the Trainer logs once at the end, about the whole call: the manifest has its own figures for these.
NOT_LOGGED = ("train_", "total_flos", "epoch")


TRAINED = "TRAINED"  # a file in a checkpoint after the last step


class StageCallback(TrainerCallback):
    """Connects one Trainer to one stage's context."""

    def __init__(self, context: Context, scratch: Path, advance: Callable[[int], None]) -> None:
        self._context, self._scratch, self._advance = context, scratch, advance
        self.stopped = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> TrainerControl:
        self._advance(1)
        if state.global_step == state.max_steps and self._context.checkpoints is not None:
            control.should_save = True  # so that a stop during the evaluation costs no training
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
        if "num_tokens" in metrics:  # TRL's own count starts again at 0 after a resume; this one is restored
            metrics["num_tokens"] = float(state.num_input_tokens_seen)
        metrics.pop("num_input_tokens_seen", None)
        if metrics and state.is_world_process_zero:
            self._context.log_metrics(state.global_step, metrics)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        folder = self._context.checkpoints
        written = self._scratch / f"checkpoint-{state.global_step}"
        if folder is None or not state.is_world_process_zero:
            return
        if state.global_step == state.max_steps:
            (written / TRAINED).touch()
        store.save(folder, state.global_step, lambda place: _move_into(written, place))


def arguments(config: Any, context: Context, scratch: Path, on_cpu: bool) -> dict[str, Any]:
    """What sft and dpo pass to their TRL configs alike. `data_seed`: order must not depend on stray global draws.

    bf16 is autocast in the Trainer's words; our weights already have their dtype.
    """
    same = (
        "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length",
        "lr_scheduler_type", "warmup_steps", "max_grad_norm", "gradient_checkpointing", "logging_steps", "save_steps",
    )  # fmt: skip
    return {
        **{name: getattr(config, name) for name in same},
        "output_dir": str(scratch),
        "seed": context.seed,
        "data_seed": context.seed,
        "max_steps": config.max_steps or -1,
        "bf16": False,
        "use_cpu": on_cpu,
        "save_strategy": "steps" if context.checkpoints else "no",
        "report_to": "none",
        "include_num_input_tokens_seen": "non_padding",
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def trained_weights(context: Context) -> Artifact | None:
    """The weights of a run that was stopped after its last step; the Trainer, resumed there, would take one more."""
    found = store.newest(context.checkpoints, context.say)
    if found is None or not (found[1] / TRAINED).exists():
        return None
    context.say(f"training was finished at step {found[0]}")
    return Artifact("checkpoint", "policy", found[1])


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
    steps = max(math.ceil(batches / trainer.args.gradient_accumulation_steps), 1)
    return math.ceil(steps * trainer.args.num_train_epochs)


def _move_into(source: Path, target: Path) -> None:
    for item in source.iterdir():
        shutil.move(str(item), str(target / item.name))
    source.rmdir()
