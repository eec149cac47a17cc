"""Two candidates of an evaluation, or one and the prompt handed back unchanged, on one figure of its saved answers.

.venv/bin/python bench/compared.py ANSWERS.jsonl label_accuracy sft sft-noisy
.venv/bin/python bench/compared.py ANSWERS.jsonl rouge sft --unchanged

The answers are those of runs/<recipe>/evaluate/<fingerprint>/output/answers.jsonl. Intervals are 95%, one comparison
alone: the verdict corrects for all that it makes. `--unchanged` knows the checks against a reference.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pipeline.contract import TaskConfig
from stages.evaluate.checks.task import check_answer
from stages.objectives.comparisons import difference, interval


def main() -> int:
    """Print both figures and their paired difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("figure")
    parser.add_argument("candidates", nargs="+", help="one with --unchanged, else two")
    parser.add_argument("--unchanged", action="store_true", help="against the last message of the prompt as an answer")
    options = parser.parse_args()
    if len(options.candidates) != (1 if options.unchanged else 2):
        parser.error("name two candidates, or one with --unchanged")
    rows = [json.loads(line) for line in options.answers.read_text("utf-8").splitlines()]
    values = {n: [row["answers"][n]["figures"][options.figure] for row in rows] for n in options.candidates}
    if options.unchanged:
        task = TaskConfig(checks=(options.figure,))
        texts = [row["prompt"][-1]["content"] for row in rows]
        values["the prompt unchanged"] = [
            check_answer(text, row["reference"], task)[options.figure] for text, row in zip(texts, rows, strict=True)
        ]
    known = [place for place, both in enumerate(zip(*values.values(), strict=True)) if None not in both]
    kept = {name: [own[place] for place in known] for name, own in values.items()}
    for name, own in kept.items():
        print(f"{name}: {_told(interval(own))} on {len(own)} prompts")
    print(f"the difference: {_told(difference(*kept.values()))}")
    return 0


def _told(found: tuple[float, float, float]) -> str:
    mean, low, high = found
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
