"""A copy of a table of labelled texts in which a share of the labels is wrong, for recipes/quality.yaml.

.venv/bin/python bench/noisy_labels.py TRAIN.csv NOISY.csv [--share 0.4] [--seed 17]

A row that is drawn gets another label of the file, all equally likely. Printed: how many rows got one.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from pathlib import Path


def main() -> int:
    """Write the noisy copy."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("noisy", type=Path)
    parser.add_argument("--column", default="category")
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    with options.table.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    labels, draw = sorted({row[options.column] for row in rows}), random.Random(options.seed)
    wrong = 0
    for row in rows:
        if draw.random() < options.share:
            row[options.column] = draw.choice([label for label in labels if label != row[options.column]])
            wrong += 1
    with options.noisy.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{wrong} of {len(rows)} rows have another label than before")
    return 0


if __name__ == "__main__":
    sys.exit(main())
