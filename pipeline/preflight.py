"""What `run` refuses before anything is trained; of it `plan` says what half a second is enough to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline import registry
from pipeline.content import data_files
from pipeline.graph import Stage, input_fields
from pipeline.recipe import Recipe


def check_places(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """There are files where the data of these stages are looked for."""
    sources = (source for _, _, given in _asked(recipe, stages).values() for source in given)
    if missed := [source for source in sources if not data_files(source.config)]:
        registry.load(registry.CHECK_PLACES)(missed)


def check_data(recipe: Recipe, stages: Sequence[Stage]) -> None:
    """Their tasks can be checked, and every row that they are about to read is sound: a bad one ends the run here.

    `plan` does without: the library that knows JSON Schema takes a tenth of a second to import.
    """
    named = {name for stage in stages for names in stage.data.values() for name in names}
    for task in sorted({task for name in named if (task := recipe.data[name].task)}):
        registry.load(registry.CHECK_TASK)(task, recipe.tasks[task])
    check_places(recipe, stages)
    asked = _asked(recipe, stages)
    if asked:
        registry.load(registry.CHECK_DATA)(asked)


def _asked(recipe: Recipe, stages: Sequence[Stage]) -> dict[str, Any]:
    """By field: the kind of record, the side of the split, the sources. Bad rows of `any` are the stage's business."""
    asked: dict[str, Any] = {}
    for stage in stages:
        for field, mark in input_fields(type(stage.config)):
            if mark.records and mark.records != "any":
                there = [name for name in stage.data[field] if recipe.data[name].path]  # not yet: those of a stage
                asked[f"{stage.name}.{field}"] = (mark.records, "all", list(map(recipe.source, there)))
    return asked
