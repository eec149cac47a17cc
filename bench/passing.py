"""How fast rows pass, and in how much memory: generated JSON lines -> format found, converted, split by hash, let go.

python -m bench.passing --rows 1000000 --characters 1000
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

from pipeline.contract import DataSource, Source
from stages.formats import iter_records

WORDS = (
    "the",
    "library",
    "opens",
    "its",
    "reading",
    "room",
    "at",
    "ten",
    "and",
    "lends",
    "maps",
    "for",
    "four",
    "weeks",
)


def main() -> None:
    """Write the rows, pass over them once, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--characters", type=int, default=1000, help="of a row, about")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        _write(file, chosen.rows, chosen.characters)
        before, start = _peak_mb(), time.perf_counter()
        source = Source("rows", DataSource(path=str(file)))
        count = sum(1 for _ in iter_records(source, "comparison", "train"))
        seconds = time.perf_counter() - start
        size = file.stat().st_size / 2**20
    print(f"{chosen.rows:,} rows, {size:,.0f} MiB: {count:,} records of the training side in {seconds:.1f} s")
    print(f"peak memory {_peak_mb():.0f} MiB, {before:.0f} MiB of it before the reading")


def _write(file: Path, rows: int, characters: int) -> None:
    draw = random.Random(17)
    with file.open("w", encoding="utf-8") as stream:
        for number in range(rows):
            texts = [" ".join(draw.choices(WORDS, k=characters // 15)) for _ in range(3)]
            row = {"id": str(number), "prompt": texts[0], "completions": [f"{t} {i}" for i, t in enumerate(texts)]}
            stream.write(json.dumps(row | {"ranks": [2, 1, 3]}) + "\n")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
