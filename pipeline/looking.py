"""`posttune preview`: what a stage's rows become before anything is trained on them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from pipeline import registry
from pipeline.contract import Source
from pipeline.errors import UserError
from pipeline.files import write_atomically
from pipeline.graph import Stage, input_fields
from pipeline.options import RUNS, Debug, Overrides, RecipePath, Runs
from pipeline.recipe import Recipe, load_recipe
from pipeline.store import Store

# As stages/preview/page.html.jinja begins: a file that does not is not written over.
PAGE_BEGINS = b"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="generator" content="posttune preview">
"""


def preview(
    recipe: RecipePath,
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="A stage that reads data.")],
    rows: Annotated[int, typer.Option("--rows", metavar="N", min=1, help="Rows to show in full.")] = 3,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the same as one HTML page, too.")
    ] = None,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    debug: Debug = False,
) -> None:
    """Show token by token what the model will see.

    Shown are a stage's rows, which of their tokens count in the loss, and what is wrong with them.
    """
    loaded = load_recipe(recipe, overrides or ())
    chosen = loaded.stage(stage)
    loaded = _with_finished_rows(loaded, Store(runs, loaded), chosen)
    if html is not None:
        _check_place(html)
    found = registry.load(registry.PREVIEW)(
        chosen.name,
        chosen.kind,
        chosen.config,
        model=loaded.model,
        seed=loaded.seed,
        sources=_sources(loaded, chosen),
        rows=rows,
    )
    registry.load(registry.PREVIEW_TERMINAL)(found, sys.stdout)
    if html is not None:
        write_atomically(html, registry.load(registry.PREVIEW_PAGE)(found))
        typer.echo(f"\npage: {html}")


def _check_place(page: Path) -> None:
    """A page that cannot be written, or would be written over a file of somebody else, is refused before all else."""
    if page.is_dir():
        raise UserError("is a folder", where=f"--html {page}", remedy="name a file")
    if not page.parent.is_dir():
        raise UserError("its folder does not exist", where=f"--html {page}", remedy=f"mkdir -p {page.parent}")
    if page.exists() and not _is_ours(page):
        raise UserError(
            "exists, and is no page that a preview wrote", where=f"--html {page}", remedy="name another file"
        )


def _is_ours(page: Path) -> bool:
    try:
        with page.open("rb") as stream:
            return stream.read(len(PAGE_BEGINS)) == PAGE_BEGINS
    except OSError:
        return False


def _with_finished_rows(recipe: Recipe, store: Store, stage: Stage) -> Recipe:
    """The recipe with the rows that finished stages wrote; UserError where one is still to write them."""
    from pipeline import plan as planning

    if stage.rows_from:
        for step in planning.plan(recipe, store, sorted(stage.rows_from)):
            missing = planning.missing_rows(store, step) if step.action == "skip" else ""
            if missing:
                raise UserError(
                    f"the rows of '{step.stage.name}' are people's to make: {missing}",
                    where=str(recipe.path),
                    remedy=f"posttune collect import {recipe.path} FILE...",
                )
            if step.action == "skip":
                recipe = planning.with_rows(recipe, store, step)
    for name in (name for names in stage.data.values() for name in names):
        if writer := recipe.data[name].from_stage:
            raise UserError(
                f"the stage '{writer}' writes its rows, and has not made them yet under these settings",
                where=f"{recipe.path}: data.{name}",
                remedy=f"posttune run {recipe.path} {writer}",
            )
    return recipe


def _sources(recipe: Recipe, stage: Stage) -> dict[str, tuple[str, list[Source]]]:
    """Record kind and sources of each data field; a field that names what another one names is shown once."""
    found: dict[str, tuple[str, list[Source]]] = {}
    seen: set[tuple[str, Sequence[str]]] = set()
    for field, mark in input_fields(type(stage.config)):
        names = stage.data.get(field, ())
        if mark.records not in (None, "any") and names and (mark.records, names) not in seen:
            seen.add((mark.records, names))
            found[field] = (str(mark.records), list(map(recipe.source, names)))
    if not found:
        reads = [name for name, other in recipe.stages.items() if any(other.data.values()) and other.kind != stage.kind]
        raise UserError(
            f"the stage '{stage.name}' reads no rows for a model",
            where=str(recipe.path),
            remedy=f"name one that does: {', '.join(reads)}" if reads else "no stage of this recipe does",
        )
    return found
