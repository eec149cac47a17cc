"""Sampled answers as canonical comparisons: their ranks, and the file that later stages read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from pipeline.contract import ROWS, Context
from stages.formats.records import Prompt
from stages.rollout.generate import Completion
from stages.sample.config import Config


@dataclass(frozen=True)
class Answered:
    """One prompt with its different finished answers, and their scores where a reward model is there."""

    prompt: Prompt
    drawn: list[Completion]  # everything that was sampled for it
    texts: list[str]
    scores: list[float] = field(default_factory=list)


def ranks(scores: Sequence[float], margin: float) -> list[int]:
    """Rank 1 for the highest score; a score at most `margin` below the best of a rank shares that rank."""
    found = [0] * len(scores)
    rank, best = 0, float("inf")
    for index in sorted(range(len(scores)), key=lambda index: -scores[index]):
        if best - scores[index] > margin:
            rank, best = rank + 1, scores[index]
        found[index] = rank
    return found


def write(config: Config, context: Context, answered: Sequence[Answered]) -> None:
    """A line a prompt, in their order."""
    with (context.output / ROWS[Config.produces]).open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(config, context, answered))


def _rows(config: Config, context: Context, answered: Sequence[Answered]) -> Iterator[dict[str, object]]:
    """The reward model is the annotator. What a prompt's row knew of the right answer stays with it."""
    for item in answered:
        row: dict[str, object] = {
            "id": item.prompt.id,
            "prompt": list(item.prompt.prompt),
            "completions": item.texts,
            "rankings": [],
            "source": f"sampled from {context.artifact('policy').name}",
        }
        if item.scores:
            given = ranks(item.scores, config.tie_margin)
            row |= {"rankings": [{"annotator": context.artifact("reward").name, "ranks": given}], "scores": item.scores}
        known = {"reference": item.prompt.reference, "documents": item.prompt.documents}
        yield row | {name: value for name, value in known.items() if value is not None}
