"""TRL's trainers on the rows of against_trl.py; their bf16 autocast only where the hardware has such products."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rows import Row

    from pipeline.contract import ModelConfig
    from stages.modeling.chat import Chat

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def train(
    options: argparse.Namespace, model: ModelConfig, chat: Chat, rows: list[Row], batch: dict[str, int], folder: Path
) -> dict[str, Any]:
    """Seconds of the training call, and of the reference pass where the constructor takes it; the first loss."""
    from hardware import device, finish, multiplies_bfloat16

    from stages.modeling.precision import weights_dtype

    best, native = options.worker == "trl-best", multiplies_bfloat16()
    # Trained whole, weights stay float32 and are cast by autocast, ours as theirs.
    autocast = native and (not best or options.full)
    settings: dict[str, Any] = {
        **batch, "output_dir": str(folder), "num_train_epochs": 1, "report_to": "none", "save_strategy": "no",
        "use_cpu": device() == "cpu", "disable_tqdm": True, "logging_steps": 1, "bf16": autocast,
        "gradient_checkpointing": not best,
    }  # fmt: skip
    dtype = weights_dtype(model, native) if best else "float32"
    beforehand = best and options.workload == "dpo"
    start = time.perf_counter()
    trainer = _trainer(options, model, chat, rows, settings, dtype, beforehand=beforehand)
    built = time.perf_counter()
    trainer.train()
    finish()
    seconds = time.perf_counter() - built
    if beforehand:  # what building it took more than one that computes nothing
        again = time.perf_counter()
        _trainer(options, model, chat, rows, settings, dtype, beforehand=False)
        seconds += max(0.0, (built - start) - (time.perf_counter() - again))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"seconds": seconds, "first_loss": losses[0]}


def _trainer(
    options: argparse.Namespace,
    model: ModelConfig,
    chat: Chat,
    rows: list[Row],
    settings: dict[str, Any],
    dtype: str,
    *,
    beforehand: bool,
) -> Any:
    import trl as library
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from stages.modeling.locate import locate

    trl: Any = library  # it loads its names lazily, so that no type checker sees them
    path = locate(model).path
    task = "SEQ_CLS" if options.workload == "rm" else "CAUSAL_LM"
    peft = None if options.full else LoraConfig(r=16, lora_alpha=32, target_modules=MODULES, task_type=task)
    rest = {"processing_class": chat.tokenizer, "peft_config": peft, "train_dataset": _table(options.workload, rows)}
    if options.workload == "rm":
        scorer: Any = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype, num_labels=1)
        scorer.config.pad_token_id = chat.pad_id
        return trl.RewardTrainer(model=scorer, args=trl.RewardConfig(**settings), **rest)
    policy = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    if options.workload == "sft":
        return trl.SFTTrainer(model=policy, args=trl.SFTConfig(**settings), **rest)
    config = trl.DPOConfig(**settings, beta=0.1, precompute_ref_log_probs=beforehand)
    return trl.DPOTrainer(model=policy, args=config, **rest)


def _table(workload: str, rows: list[Row]) -> Any:
    """SFT gets our ids; the others get messages, which their own template turns into the same ids."""
    from datasets import Dataset

    table: list[dict[str, Any]]
    if workload == "sft":
        pairs = [(row.prompt, row.answers[0]) for row in rows]
        table = [{"input_ids": prompt + answer, "labels": [-100] * len(prompt) + answer} for prompt, answer in pairs]
    else:
        table = [
            {"prompt": row.messages, **{
                side: [{"role": "assistant", "content": text}]
                for side, text in zip(("chosen", "rejected"), row.texts, strict=True)
            }}
            for row in rows
        ]  # fmt: skip
    return Dataset.from_list(table)
