"""Times the light commands on a recipe, and lists what each of its stages took.

.venv/bin/python bench/chain.py recipes/quickstart.yaml --repeats 9
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pipeline.errors import PosttuneError
from pipeline.plan import plan
from pipeline.recipe import load_recipe
from pipeline.store import Store

NOTHING = "python -c pass"


def main() -> int:
    """Measure, print a table, and write the samples where asked."""
    options = _options()
    try:
        recipe = load_recipe(options.recipe)
        store = Store(options.runs, recipe)
        is_done = all(step.action == "skip" for step in plan(recipe, store, (), ()))
    except PosttuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, n = {options.repeats}")

    commands = _commands(options.recipe, options.runs)
    if not is_done:
        del commands["posttune run, up to date"]
        print("the second run is left out: not every stage is up to date")
    samples = {name: _time(command, options.repeats) for name, command in commands.items()}
    _print_times(samples)

    stages = [_stage(store, name) for name in recipe.stages]
    _print_stages([stage for stage in stages if stage])
    if options.json:
        options.json.write_text(json.dumps({"seconds": samples, "stages": stages}, indent=1), "utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders live (runs)")
    parser.add_argument("--repeats", type=int, default=9, help="counted runs of each command (9)")
    parser.add_argument("--json", type=Path, help="write all samples to this file")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def _commands(recipe: Path, runs: Path) -> dict[str, list[str]]:
    """What is timed, by name. The first is what the others are compared with."""
    python = [sys.executable]
    posttune = [*python, "-m", "pipeline"]
    where = [str(recipe), "--runs", str(runs)]
    return {
        NOTHING: [*python, "-c", "pass"],
        "import pipeline.cli": [*python, "-c", "import pipeline.cli"],
        "posttune plan": [*posttune, "plan", *where],
        "posttune status": [*posttune, "status", *where],
        "posttune run, up to date": [*posttune, "run", *where],
    }


def _time(command: list[str], repeats: int) -> list[float]:
    """Wall seconds of `repeats` fresh processes, after one that fills the caches of the disk and of bytecode."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        ended = subprocess.run(command, capture_output=True, text=True)
        seconds.append(time.perf_counter() - start)
        if ended.returncode:
            sys.exit(f"error: {' '.join(command)} ended with {ended.returncode}:\n{ended.stderr}")
    return seconds[1:]


def _print_times(samples: dict[str, list[float]]) -> None:
    base = statistics.median(samples[NOTHING])
    print(f"\n{'':26}{'median s':>9}{'min':>8}{'max':>8}{'ratio':>8}")
    for name, seconds in samples.items():
        median = statistics.median(seconds)
        print(f"{name:26}{median:9.3f}{min(seconds):8.3f}{max(seconds):8.3f}{median / base:8.1f}")


def _stage(store: Store, name: str) -> dict[str, Any] | None:
    """What the manifest of the stage's finished run says of its cost; None where there is none."""
    run = store.finished(name)
    manifest = run.manifest() if run else None
    keys = ("stage", "seconds", "peak_memory_mb", "device", "threads")
    return {key: manifest.get(key) for key in keys} if manifest else None


def _print_stages(stages: list[dict[str, Any]]) -> None:
    if not stages:
        print("\nno stage is finished")
        return
    print(f"\n{'stage':26}{'seconds':>9}{'peak MB':>9}  device")
    for stage in stages:
        print(f"{stage['stage']:26}{stage['seconds']:9.1f}{stage['peak_memory_mb']:9}  {stage['device']}")
    print(f"{'together':26}{sum(stage['seconds'] for stage in stages):9.1f}")


if __name__ == "__main__":
    sys.exit(main())
