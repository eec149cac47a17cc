"""What checkpoints cost: the share of a PPO run that writing them takes, and the seconds that a resume adds to a start.

.venv/bin/python bench/checkpoints.py --recipe recipes/quickstart.yaml --iterations 3

Reads a finished sft and rm of that recipe from its run folder (`make sft rm`), and trains its ppo elsewhere: some
iterations, a stop, and a resume that is stopped at once.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))


def main() -> int:
    """Train, stop, resume; print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "quickstart.yaml")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs")
    parser.add_argument("--iterations", type=int, default=3, help="before the stop (3)")
    options = parser.parse_args()
    if options.iterations < 1:
        parser.error("--iterations must be at least 1")

    from pipeline.errors import Interrupted
    from stages.checkpoint import store
    from stages.ppo import train
    from stages.ppo.position import Position

    config, context = asked(options)
    with tempfile.TemporaryDirectory() as folder:
        context = replace(context, output=Path(folder) / "out", checkpoints=Path(folder) / "checkpoints")
        writes: list[float] = []
        reads: list[float] = []
        store.put = _timed(store.put, writes)
        Position.resume = _timed(Position.resume, reads)
        logged: list[float] = []
        for iterations in (options.iterations, 0):
            stop = len(logged) + iterations
            begun = replace(
                context,
                log_metrics=lambda step, metrics: logged.append(time.perf_counter()),
                should_stop=lambda stop=stop: len(logged) >= stop,  # type: ignore[misc]
            )
            start = time.perf_counter()
            with suppress(Interrupted):
                train.run(config, begun)
            if iterations:
                trained, taken = time.perf_counter() - start, sum(writes)
        size = sum(file.stat().st_size for file in max(context.checkpoints.iterdir()).rglob("*") if file.is_file())
    print(f"a checkpoint of {size / 1e6:.0f} MB takes {statistics.median(writes):.2f} s, median of {len(writes)}")
    share = f"{taken:.2f} of {trained:.1f} s, {taken / trained:.1%}"
    print(f"{options.iterations} iterations, from the start on, with as many of them: {share}")
    print(f"a resume checks and reads it in {reads[-1]:.2f} s; a start that finds none takes {reads[0]:.2f} s for that")
    return 0


def asked(options: argparse.Namespace) -> tuple[Any, Any]:
    """The recipe's ppo, and a context with the inputs that its run folder holds."""
    from pipeline.contract import Context
    from pipeline.recipe import load_recipe
    from pipeline.store import Store

    recipe = load_recipe(options.recipe)
    store = Store(options.runs, recipe)
    stage = recipe.stages["ppo"]
    found = {name: store.finished(name) for name in ("sft", "rm")}
    if not all(found.values()):
        sys.exit(f"{store.root} holds no finished sft and rm: run `make sft rm` first")
    sft, rm = (run.output for run in found.values() if run is not None)
    data = [str(recipe.data[name].path) for name in stage.data["data"]]
    context = Context.local(
        "out", model=recipe.model, seed=recipe.seed, policy=sft, reference=sft, reward=rm, data=data
    )
    return stage.config.model_copy(update={"check_reward": None}), context


def _timed(function: Callable[..., Any], seconds: list[float]) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*given, **named)
        finally:
            seconds.append(time.perf_counter() - start)

    return timed


if __name__ == "__main__":
    raise SystemExit(main())
