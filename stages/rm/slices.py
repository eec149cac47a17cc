"""Accuracy by slice: where the reward model can be trusted, and where not.

Shapes as in judged.py; G comparisons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch

from pipeline.contract import Table
from stages.evaluate.answers import with_interval
from stages.rm.data import Ranked, judgements
from stages.rm.judged import Judged

MANY = 12  # slices of one kind; the smaller ones beyond are taken together


def by_slice(judged: Judged, items: Sequence[Ranked]) -> list[Table]:
    """One table of every way to cut that gives two slices or more; none where no way does."""
    answers, tokens = [len(item.completions) for item in items], [len(item.prompt) for item in items]
    kinds = {
        "data source": [item.source for item in items],
        "the rows' own source": [item.origin or "none" for item in items],
        "answers compared": [str(number) for number in answers],
        "tokens of the prompt": _thirds(tokens),
    }
    numbers = {"answers compared": answers, "tokens of the prompt": tokens}
    cuts = {kind: _largest(of_G) for kind, of_G in kinds.items() if len(set(of_G)) > 1}
    if not cuts:
        return []
    item_P = judgements(items).group_P
    rows: list[list[str | float | None]] = []
    for kind, of_G in cuts.items():
        for name in _in_order(of_G, numbers.get(kind)):
            own = judged.select(torch.tensor([each == name for each in of_G])[item_P])
            rows.append([kind, name, own.num_prompts, len(own), own.too_few or with_interval(own.accuracy())])
    missed = 1 - 0.95 ** len(rows)
    note = (
        f"{len(rows)} slices: the chance that at least one of so many 95% intervals misses its true figure is up to "
        f"{missed:.0%}, so one slice that stands out is a question for more data, not yet an answer"
    )
    return [Table("Accuracy by slice", ["cut by", "slice", "prompts", "pairs", "accuracy"], rows, note)]


def _in_order(of_G: Sequence[str], numbers_G: Sequence[int] | None) -> list[str]:
    """The slices by the lowest number in each; where there are no numbers, as they first come."""
    if numbers_G is None:
        return list(dict.fromkeys(of_G))
    lowest: dict[str, int] = {}
    for name, number in zip(of_G, numbers_G, strict=True):
        lowest[name] = min(number, lowest.get(name, number))
    return sorted(lowest, key=lowest.__getitem__)


def _thirds(lengths: Sequence[int]) -> list[str]:
    """Each length's third, in words; equal lengths lie in one."""
    ordered = sorted(lengths)
    bounds = sorted({ordered[(len(ordered) - 1) * part // 3] for part in (1, 2, 3)})
    words, low = {}, ordered[0]
    for bound in bounds:
        words[bound] = f"{low} to {bound}"
        low = bound + 1
    return [next(words[bound] for bound in bounds if length <= bound) for length in lengths]


def _largest(names: Sequence[str]) -> list[str]:
    counted = Counter(names)
    if len(counted) <= MANY:
        return list(names)
    kept = {name for name, _ in counted.most_common(MANY - 1)}
    others = f"the other {len(counted) - len(kept)}"
    return [name if name in kept else others for name in names]
