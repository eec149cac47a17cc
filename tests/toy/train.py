"""The toy training loop: a running hash stands for the weights, so that a resume can be seen to be exact."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

from pipeline.contract import Context, Result, Table
from pipeline.errors import DataError, Interrupted
from stages.checkpoint import store
from toy.config import ToyConfig


def run(config: ToyConfig, context: Context) -> Result:
    """`steps` steps of hashing; checkpoints, metrics, stops and failures as the config says."""
    step, weights = _start(config, context)
    with context.progress("hashing", config.steps) as advance:
        while step < config.steps:
            if step + 1 == config.fail_at:
                _fail(config.fail)
            time.sleep(config.pause)
            step += 1
            weights = hashlib.sha256(f"{weights}:{step}:{config.learning_rate}".encode()).hexdigest()
            context.log_metrics(step, {"loss": 1 / step})
            advance(1)
            stop = context.should_stop()
            if (stop or step % config.save_steps == 0) and context.checkpoints:
                store.save(context.checkpoints, step, partial(_write, weights=weights))
            if stop:
                raise Interrupted("stopped; a checkpoint is written", remedy="run the same command again to go on")
    _write(context.output, weights)
    print("a library prints this")
    table = Table("Toy figures", ["figure", "value"], [["loss", 1 / step]])
    return Result({"loss": 1 / step}, [table], [f"weights {weights[:8]}"])


def _start(config: ToyConfig, context: Context) -> tuple[int, str]:
    found = store.newest(context.checkpoints, context.say)
    if found:
        context.say(f"going on from step {found[0]}")
        context.rewind(found[0])
        return found[0], json.loads((found[1] / "weights.json").read_text("utf-8"))
    inputs = [artifact.digest for given in context.inputs.values() for artifact in given]
    rows = [Path(source.config.path).read_text("utf-8") for source in context.data["data"]]
    return 0, hashlib.sha256(json.dumps([type(config).__module__, context.seed, inputs, rows]).encode()).hexdigest()


def _write(folder: Path, weights: str) -> None:
    (folder / "weights.json").write_text(json.dumps(weights), "utf-8")


def _fail(how: str) -> None:
    if how == "bug":
        raise RuntimeError("tensors do not fit\nand more lines")
    if how == "user":
        raise DataError("row 3 has no answer; one is needed", where="rows.jsonl:row 3: messages", remedy="write one")
    if how == "memory":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "weights.json")
    if how == "status":
        sys.exit(7)
