"""`posttune audit`: what is wrong with a recipe's data, before anything is trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline import registry
from pipeline.contract import DataSource, Source
from pipeline.errors import UserError, nearest
from pipeline.graph import Stage, input_fields
from pipeline.options import RUNS, Debug, Overrides, RecipePath
from pipeline.recipe import Recipe, load_recipe

DataNames = Annotated[list[str] | None, typer.Option("--data", metavar="NAME", help="Only this data source.")]
Against = Annotated[
    list[str] | None,
    typer.Option("--against", metavar="NAME", help="A source, or a file, that the others must not repeat."),
]
Fix = Annotated[
    Path | None, typer.Option("--fix", metavar="DIR", file_okay=False, help="Write cleaned copies into this folder.")
]
FailOn = Annotated[
    Literal["error", "warning", "never"], typer.Option("--fail-on", help="Which findings make the exit code 2.")
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", file_okay=False, help="Findings go here: RECIPE.audit/.")]


def audit(
    recipe: RecipePath,
    data: DataNames = None,
    against: Against = None,
    fix: Fix = None,
    fail_on: FailOn = "error",
    overrides: Overrides = None,
    runs: Runs = RUNS,
    debug: Debug = False,
) -> None:
    """Look for what is wrong with a recipe's data."""
    loaded = load_recipe(recipe, overrides or ())
    others = _against(loaded, data or (), against)
    held = [_source(loaded, name) for name in others]
    names = data or [name for name, source in loaded.data.items() if source.path and name not in others]
    sources = [_source(loaded, name, known_only=True) for name in names]
    _check_apart(loaded, sources, held)
    if not sources:
        raise UserError("no data source to look at", where=str(recipe), remedy="name files under `data:`")
    options: dict[str, Any] = {
        **_as_its_stage(loaded),
        "folder": str(fix or runs / f"{loaded.name}.audit"),
        "kinds": {name: sorted(_kinds(loaded, name)) for name in loaded.data},
        "max_lengths": {name: length for name in names if (length := _max_length(loaded, name))},
        "seed": loaded.seed,
        "fix": fix is not None,
        "fail_on": fail_on,
    }
    registry.load(registry.AUDIT)(sources, held, loaded.model, options, typer.echo)


def _source(recipe: Recipe, name: str, *, known_only: bool = False) -> Source:
    """A source of the recipe, or else a file."""
    config = recipe.data.get(name)
    if config is None and (known_only or not Path(name).exists()):
        raise UserError(f"there is no data source '{name}'", where=str(recipe.path), remedy=nearest(name, recipe.data))
    if config is not None and config.path is None:
        raise UserError(
            f"the rows of '{name}' are written by stage '{config.from_stage}'",
            where=str(recipe.path),
            remedy="give the recipe an audit stage: `audit: {data: ...}` reads them when they are there",
        )
    if config is not None:
        return recipe.source(name)
    return Source(
        name, DataSource(path=name, split="all"), heldout_fraction=recipe.heldout_fraction, salt=recipe.split_salt
    )


def _max_length(recipe: Recipe, name: str) -> int | None:
    """The least of the stages that read the source."""
    lengths = [
        length
        for stage in recipe.stages.values()
        if any(name in names for names in stage.data.values()) and (length := getattr(stage.config, "max_length", None))
    ]
    return min(lengths, default=None)


def _against(recipe: Recipe, data: Sequence[str], given: Sequence[str] | None) -> Sequence[str]:
    """What is held against the rows: what is given, or else what the recipe's audit stage names."""
    stage = _audit_stage(recipe)
    if given is not None or stage is None:
        return given or ()
    named = [name for name in stage.data.get("against", ()) if name not in data]
    for name in named:
        if recipe.data[name].path is None:
            typer.echo(f"'{name}' is not held against the rows: a stage writes it")
    return [name for name in named if recipe.data[name].path is not None]


def _check_apart(recipe: Recipe, sources: Sequence[Source], held: Sequence[Source]) -> None:
    """Every row of a source that is held against itself would leak."""
    whole = ("path", "split", "part", "limit")
    for source in sources:
        for other in held:
            is_file = (
                other.name not in recipe.data and Path(other.name).resolve() == Path(str(source.config.path)).resolve()
            )
            alike = all(getattr(source.config, key) == getattr(other.config, key) for key in whole)
            if source.name == other.name or is_file or alike:
                raise UserError(
                    f"'{other.name}' is to be held against itself",
                    where=str(recipe.path),
                    remedy="name another source with --against, or leave it out of --data",
                )


def _kinds(recipe: Recipe, name: str) -> set[str]:
    """The kinds of records as which stages read a source, or the rows that an audit stage writes of it."""
    found: set[str] = set()
    for stage in recipe.stages.values():
        for field, mark in input_fields(type(stage.config)):
            if name in stage.data.get(field, ()) and mark.records not in (None, "any"):
                found.add(str(mark.records))
        if stage.kind == "audit" and name in stage.data.get("data", ()):
            written = (other for other, source in recipe.data.items() if source.from_stage == stage.name)
            found.update(kind for other in written for kind in _kinds(recipe, other))
    return found


def _audit_stage(recipe: Recipe) -> Stage | None:
    return next((stage for stage in recipe.stages.values() if stage.kind == "audit"), None)


def _as_its_stage(recipe: Recipe) -> dict[str, Any]:
    """What the recipe's first audit stage sets, or the stage's defaults."""
    stage = _audit_stage(recipe)
    config: Any = stage.config if stage else registry.load(registry.find("audit").config)(data=())
    return {"threshold": config.near_duplicate_threshold, "skip": config.skip}
