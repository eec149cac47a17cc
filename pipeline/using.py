"""`posttune chat` and `posttune export`: what a recipe has made, used."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipeline import registry, stage_run
from pipeline.contract import Artifact, Source
from pipeline.errors import UserError, nearest
from pipeline.graph import Stage, input_fields
from pipeline.options import RUNS, Debug, Overrides, RecipePath, Runs
from pipeline.recipe import Recipe, load_recipe
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.plan import Step


def chat(
    recipe: RecipePath,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="base, or stages that made a policy; else base and the last of them."),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option("--system", metavar="TEXT", help="A system prompt; else the one that all rows of training have."),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1, help="The longest answer, tokens.")] = 256,
    temperature: Annotated[float, typer.Option("--temperature", min=0, help="0: always the likeliest token.")] = 0.0,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    debug: Debug = False,
) -> None:
    """Talk to one policy, or to several side by side.

    Where the input is piped, each line is a prompt.
    """
    loaded = load_recipe(recipe, overrides or ())
    candidates = _policies(loaded, Store(runs, loaded), names)
    registry.load(registry.CHAT)(
        candidates,
        loaded.model,
        sources=_sources(loaded, candidates[-1].name),
        system=system,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=loaded.seed,
        given=sys.stdin,
        shown=sys.stdout,
    )


def export(
    recipe: RecipePath,
    name: Annotated[str, typer.Argument(metavar="STAGE", help="A stage that made a policy, or base.")],
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="A folder that is new, or empty.")],
    form: Annotated[
        Literal["merged", "adapter", "gguf"],
        typer.Option("--format", help="Whole weights, LoRA alone, or llama.cpp's."),
    ] = "merged",
    dtype: Annotated[
        Literal["float32", "bfloat16", "float16"], typer.Option("--dtype", help="Of whole weights in the file.")
    ] = "float32",
    prompts: Annotated[
        int, typer.Option("--check", metavar="N", min=0, help="Held-out prompts on which answers are compared.")
    ] = 8,
    push: Annotated[
        str | None, typer.Option("--push", metavar="ORG/NAME", help="Then upload it to the hub, private.")
    ] = None,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    debug: Debug = False,
) -> None:
    """Write a policy as files that other programs load.

    Before the files get their name, greedy answers are compared with the policy's own; `--check 0` compares none.
    """
    loaded = load_recipe(recipe, overrides or ())
    folder = Store(runs, loaded)
    (artifact,) = _policies(loaded, folder, [name])
    if folder.root.resolve() in (to.resolve(), *to.resolve().parents):
        raise UserError("lies in the run folder", where=f"--to {to}", remedy="name a folder of its own")
    order = registry.load(registry.EXPORT_ORDER)(to, form, dtype, num_prompts=prompts, push=push)
    registry.load(registry.EXPORT)(artifact, loaded.model, order, _sources(loaded, name), typer.echo)


def _policies(recipe: Recipe, folder: Store, names: Sequence[str] | None) -> list[Artifact]:
    """The named policies, each as its stage published it under the recipe's present settings."""
    makers = [name for name, stage in recipe.stages.items() if type(stage.config).produces == "policy"]
    if not names:
        names = ["base", *_last_finished(recipe, folder, makers)]
    for name in names:
        if name != "base" and name not in makers:
            known = nearest(name, ["base", *makers])
            what = f"the stage '{name}' makes no policy" if name in recipe.stages else f"there is no stage '{name}'"
            raise UserError(what, where=str(recipe.path), remedy=known)
        if names.count(name) > 1:
            raise UserError(f"'{name}' is named twice", where=str(recipe.path), remedy="name each once")
    return [_policy(recipe, folder, name) for name in names]


def _policy(recipe: Recipe, folder: Store, name: str) -> Artifact:
    """The base, or what a stage published, bit for bit."""
    if name == "base":
        return Artifact("base", "policy")
    step = _step(recipe, folder, name)
    if step.action != "skip":
        raise UserError(
            f"the stage '{name}' has not been made under these settings: {'; '.join(step.reasons)}",
            where=str(recipe.path),
            remedy=f"posttune run {recipe.path} {name}",
        )
    run = folder.run(name, str(step.fingerprint))
    stage_run.verify(run)
    return Artifact(name, "policy", run.output, run.digest)


def _step(recipe: Recipe, folder: Store, name: str) -> Step:
    from pipeline import plan as planning

    return planning.plan(recipe, folder, [name])[-1]


def _last_finished(recipe: Recipe, folder: Store, makers: Sequence[str]) -> list[str]:
    return [name for name in makers if _step(recipe, folder, name).action == "skip"][-1:]


def _sources(recipe: Recipe, name: str) -> list[Source]:
    """Where the export's prompts come from: what the stage reads, or for the base what any does."""
    stages: list[Stage] = list(recipe.stages.values()) if name == "base" else [recipe.stages[name]]
    names = {
        source: None
        for stage in stages
        for field, mark in input_fields(type(stage.config))
        if mark.records not in (None, "any", "document")
        for source in stage.data.get(field, ())
        if recipe.data[source].path  # rows that another stage writes are not looked for
    }
    return [recipe.source(source) for source in names]
