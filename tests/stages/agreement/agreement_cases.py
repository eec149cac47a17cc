"""Batches and answers made by hand, and annotators of known habits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stages.annotation.batch import Batch
from stages.annotation.schema import Answer, Shown, Task

BATCH = "b_00000000"


def task(number: int, *texts: str, prompt: str = "") -> Task:
    """A task with these completions, t_0000000N with c_N00i."""
    shown = tuple(Shown(f"c_{number:04d}{i:04d}", text) for i, text in enumerate(texts))
    return Task(BATCH, f"t_{number:08d}", ({"role": "user", "content": prompt or f"Question {number}"},), shown)


def batch(tasks: Sequence[Task], key: Mapping[int, Mapping[str, Any]] | None = None) -> Batch:
    """The tasks; `key` is by their position."""
    lines = {t.task_id: {"task_id": t.task_id, "kind": "normal", **(key or {}).get(i, {})} for i, t in enumerate(tasks)}
    return Batch(BATCH, "A batch", "Rank them.", tuple(tasks), (), lines, {})


def answer(of: Task, annotator: str, *ranks: int | None, **more: Any) -> Answer:
    """Ranks in the order of the task's completions, which is also what was shown."""
    given = {name: rank for name, rank in zip(of.ids, ranks, strict=False) if rank is not None}
    status = "ranked" if len(given) == len(of.ids) else "partial" if given else "skipped"
    return replace(Answer(BATCH, of.task_id, annotator, status, given, shown=of.ids), **more)


def tasks(num: int, count: int) -> list[Task]:
    return [task(n, *(f"answer {n} {i}" for i in range(count))) for n in range(num)]


def noisy_ranks(quality_K: np.ndarray, noise: float, generator: np.random.Generator) -> list[int]:
    """Ranks by quality and noise, best first, without ties."""
    order = np.argsort(-(quality_K + noise * generator.normal(size=len(quality_K))))
    return [int(rank) + 1 for rank in np.argsort(order)]


def shuffled(of: Task, generator: np.random.Generator) -> tuple[str, ...]:
    """An order to be shown in."""
    return tuple(of.ids[i] for i in generator.permutation(len(of.ids)))
