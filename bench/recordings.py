"""What recording passes gives on a GPU, and what it takes: seconds of a forward and backward by size, memory held.

python bench/random_model.py /tmp/m05 --layers 24 --hidden 896 --intermediate 4864
python bench/recordings.py --model /tmp/m05

Each size runs four times: the second is recorded, the third and fourth are replayed. Then sizes in random order, as
training meets them. Needs a GPU.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
ROWS = 8
LENGTHS = range(64, 544, 16)  # tokens a row: 30 sizes, 512 to 4224 tokens a forward


def main() -> int:
    """Print a line a size, and one for sizes in random order."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a model folder")
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        parser.error("there is no GPU here")
    backbone = _backbone(options.model)
    print(f"{'tokens':>7}{'plain, s':>10}{'recorded':>10}{'replayed':>10}{'GPU MB':>9}{'own MB':>9}")
    for length in LENGTHS:
        plain, recorded, *replayed = (_step(backbone, length) for _ in range(4))
        held, own = torch.cuda.memory_reserved() / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        seconds = f"{plain:10.3f}{recorded:10.3f}{min(replayed):10.3f}"
        print(f"{ROWS * length:7}{seconds}{held:9.0f}{own:9.0f}", flush=True)
    chance = random.Random(1)
    for _ in range(60):
        _step(backbone, chance.choice(LENGTHS))
    mixed = [_step(backbone, chance.choice(LENGTHS)) for _ in range(40)]
    print(f"in random order, 40 after 60: median {statistics.median(mixed):.3f} s ({min(mixed):.3f}, {max(mixed):.3f})")
    return 0


def _backbone(model: str) -> Any:
    from pipeline.contract import Artifact, LoraConfig, ModelConfig
    from stages.modeling.backbone import open_backbone

    backbone = open_backbone(ModelConfig(model_name_or_path=model, lora=LoraConfig(r=16, alpha=32)))
    backbone.load("policy", Artifact("base", "policy"), trainable=True)
    return backbone


def _step(backbone: Any, length: int) -> float:
    """Seconds of a forward and backward of eight rows of random tokens."""
    import torch

    from stages.modeling.ragged import Group, Ragged

    rows = Ragged([Group([random.randrange(1000) for _ in range(length)], []) for _ in range(ROWS)])
    torch.cuda.synchronize()
    start = time.perf_counter()
    backbone.hidden("policy", rows).square().mean().backward()
    torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())
