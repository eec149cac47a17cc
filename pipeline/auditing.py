"""`posttune audit`: what is wrong with a recipe's data, before anything is trained on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline import registry
from pipeline.contract import DataSource, Source, TaskConfig
from pipeline.errors import UserError, nearest
from pipeline.recipe import Recipe, load_recipe

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe file.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key.")]
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
    runs: Runs = Path("runs"),
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Look for what is wrong with a recipe's data, before anything is trained on it."""
    loaded = load_recipe(recipe, overrides or ())
    held = [_source(loaded, name) for name in against or ()]
    names = data or [name for name, source in loaded.data.items() if source.path and name not in (against or ())]
    sources = [_source(loaded, name, known_only=True) for name in names]
    if not sources:
        raise UserError("no data source to look at", where=str(recipe), remedy="name files under `data:`")
    options: dict[str, Any] = {
        **_as_its_stage(loaded),
        "folder": str(fix or runs / f"{loaded.name}.audit"),
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
    config = config or DataSource(path=name, split="all")
    task = recipe.tasks.get(config.task or "", TaskConfig())
    return Source(name, config, task, recipe.heldout_fraction, recipe.split_salt)


def _max_length(recipe: Recipe, name: str) -> int | None:
    """The least of the stages that read the source."""
    lengths = [
        length
        for stage in recipe.stages.values()
        if any(name in names for names in stage.data.values()) and (length := getattr(stage.config, "max_length", None))
    ]
    return min(lengths, default=None)


def _as_its_stage(recipe: Recipe) -> dict[str, Any]:
    """What the recipe's first audit stage sets, or the stage's defaults."""
    known = [stage.config for stage in recipe.stages.values() if stage.kind == "audit"]
    config: Any = known[0] if known else registry.load(registry.find("audit").config)(data=())
    return {"threshold": config.near_duplicate_threshold, "skip": config.skip}
