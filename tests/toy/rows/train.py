"""Writes rows: numbered copies of the first it read."""

from __future__ import annotations

from pathlib import Path

from pipeline.contract import ROWS, Context, Result
from toy.config import ToyConfig


def run(config: ToyConfig, context: Context) -> Result:
    first = Path(str(context.data["data"][0].config.path)).read_text("utf-8").splitlines()[0]
    rows = [first.replace("answer", f"answer {step}") for step in range(config.steps)]
    (context.output / ROWS["comparisons"]).write_text("\n".join(rows) + "\n", "utf-8")
    return Result({"rows": len(rows)})
