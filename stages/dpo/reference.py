"""The reference's log-probabilities of all pairs: computed once a run, and kept beside its checkpoints.

They are found again by a digest of what determines them, so a resume reads them and anything else computes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.contract import Context
from pipeline.errors import Interrupted
from stages.checkpoint import store
from stages.dpo.data import Pair, both_sides
from stages.modeling.backbone import Backbone
from stages.rollout.score import logprobs
from stages.training.loop import Step
from stages.training.processes import Processes

REFERENCE = "reference"
FILE = "logprobs.safetensors"


def reference_logprobs(backbone: Backbone, pairs: Sequence[Pair], steps: Sequence[Step], context: Context) -> Tensor:
    """The reference's log-probability of both answers of each pair that training will meet, [P, 2].

    In the micro-batches in which training first meets them: there it is the policy's very arithmetic, so that the
    loss starts at exactly log 2.
    """
    processes = Processes.join()
    parts = _first_meetings(steps)
    place = None
    if context.checkpoints:
        place = context.checkpoints / f"reference-{_digest(backbone, pairs, parts, context)[:16]}"
    kept_P2 = _read(place, len(pairs), context)
    if processes.sum({"found": float(kept_P2 is not None)}, ["found"])["found"] == processes.count:
        assert kept_P2 is not None, "every process has found it"
        return kept_P2
    found_P2 = _compute(backbone, pairs, parts, context, processes)
    if place and context.chief:
        store.put(place, partial(_write, found_P2))
    return found_P2


def _first_meetings(steps: Sequence[Step]) -> list[list[int]]:
    """The micro-batches, in order, that hold a pair not met before, less the pairs that were."""
    parts, met = [], set[int]()
    for part in (part for step in steps for part in step):
        new = [item for item in part if item not in met]
        if new:
            parts.append(new)
            met.update(new)
    return parts


def _digest(backbone: Backbone, pairs: Sequence[Pair], parts: Sequence[list[int]], context: Context) -> str:
    """Of the reference, the arithmetic, and the encoded pairs in their micro-batches."""
    reference = context.artifact("reference")
    # Outside the engine an artifact has no digest: its path stands for it, as it does for the policy in a checkpoint.
    known = [backbone.arithmetic, context.model.model_dump_json(), reference.digest or str(reference.path)]
    found = hashlib.sha256(json.dumps(known).encode())
    for part in parts:
        held = [(item, pairs[item].prompt, pairs[item].chosen, pairs[item].rejected) for item in part]
        found.update(json.dumps(held).encode())
    return found.hexdigest()


def _read(place: Path | None, num_pairs: int, context: Context) -> Tensor | None:
    if place is None or not place.is_dir():
        return None
    problem = store.damage(place)
    try:
        if problem is None:
            kept_P2 = load_file(place / FILE)["logprobs_P2"]
            if kept_P2.shape == (num_pairs, 2):
                return kept_P2
            problem = "they are those of other pairs"
    except (SafetensorError, KeyError, OSError) as error:
        problem = f"{type(error).__name__} while reading them"
    context.say(f"the kept log-probabilities of the reference are damaged ({problem}): computed again")
    return None


def _write(logprobs_P2: Tensor, folder: Path) -> None:
    save_file({"logprobs_P2": logprobs_P2.contiguous()}, folder / FILE)


@torch.no_grad()
def _compute(
    backbone: Backbone, pairs: Sequence[Pair], parts: Sequence[list[int]], context: Context, processes: Processes
) -> Tensor:
    """Each process takes its share of the micro-batches."""
    found_P2 = torch.zeros(len(pairs), 2)
    own = parts[processes.rank :: processes.count]
    with context.progress("reference log-probabilities", len(own)) as advance:
        for part in own:
            if context.should_stop() and processes.count == 1:  # several must stop together: after the first step
                raise Interrupted("stopped", remedy="run the same command again to go on")
            both = logprobs(backbone, REFERENCE, both_sides([pairs[item] for item in part])).sum(1)
            found_P2[part] = both.float().cpu().view(2, -1).T
            advance(1)
    return processes.sum_tensor(found_P2)
