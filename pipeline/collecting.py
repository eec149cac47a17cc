"""`posttune collect`: a published batch out to people, their files back in, and what they say of each other."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline import plan as planning
from pipeline import registry
from pipeline.contract import AWAITED
from pipeline.errors import UserError, nearest
from pipeline.options import RUNS, Overrides, RecipePath, Runs
from pipeline.recipe import load_recipe
from pipeline.stage_run import StageRun, returned
from pipeline.store import Store

app = typer.Typer(
    rich_markup_mode=None, help="Rankings from people: tasks out, answers back, agreement.", no_args_is_help=True
)

StageName = Annotated[
    str | None, typer.Option("--stage", metavar="STAGE", help="Which one, where the recipe has several.")
]


@app.command()
def export(
    recipe: RecipePath,
    to: Annotated[
        str, typer.Option("--to", metavar="TOOL", help="html, xlsx, csv, label-studio, argilla, potato or prodigy.")
    ] = "html",
    stage: StageName = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", file_okay=False, help="Where to, if not into the run folder.")
    ] = None,
    annotators: Annotated[
        list[str] | None, typer.Option("--annotator", metavar="NAME", help="Only this one's; may be repeated.")
    ] = None,
    exclude_done: Annotated[bool, typer.Option("--exclude-done", help="Leave out what has an answer.")] = False,
    allow_truncated: Annotated[
        bool, typer.Option("--allow-truncated", help="Cut texts that the tool cannot hold, with a note.")
    ] = False,
    overrides: Overrides = None,
    runs: Runs = RUNS,
) -> None:
    """Write the files to hand out to people.

    By default one page a person, which needs a browser and nothing else.
    """
    run = _batch(recipe, overrides, runs, stage)
    _say(
        "export",
        run,
        to=to,
        folder=out,
        annotators=tuple(annotators or ()),
        exclude_done=exclude_done,
        allow_truncated=allow_truncated,
    )


@app.command("import")
def import_(
    recipe: RecipePath,
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="What people or tools sent back.")],
    stage: StageName = None,
    tool: Annotated[str | None, typer.Option("--from", metavar="TOOL", help="Whose files; found by looking.")] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="OURS=COLUMN", help="Of any CSV: annotator=WorkerId, 'rank.{label}=Rank_{label}'."
        ),
    ] = None,
    users: Annotated[
        Path | None, typer.Option("--users", metavar="FILE", help="JSON: a tool's user ids and their names.")
    ] = None,
    aliases: Annotated[
        Path | None, typer.Option("--aliases", metavar="FILE", help="JSON: spellings and the names they stand for.")
    ] = None,
    annotator: Annotated[
        str | None, typer.Option("--annotator", metavar="NAME", help="Whose answers, where a file does not say.")
    ] = None,
    on_conflict: Annotated[
        Literal["newest-file", "keep-first"] | None,
        typer.Option("--on-conflict", help="Which of two answers stands where no time tells."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse a file whole if anything in it is wrong.")] = False,
    drop_suspect: Annotated[bool, typer.Option("--drop-suspect", help="Leave out answers that look unread.")] = False,
    overrides: Overrides = None,
    runs: Runs = RUNS,
) -> None:
    """Take back rankings.

    Every row is taken, counted as a duplicate or a draft, or refused with its reason.
    """
    run = _batch(recipe, overrides, runs, stage)
    _say(
        "import_",
        run,
        files=tuple(files),
        tool=tool,
        columns=_pairs(columns or ()),
        users=users,
        aliases=aliases,
        annotator=annotator,
        on_conflict=on_conflict,
        strict=strict,
        drop_suspect=drop_suspect,
    )


@app.command()
def rows(
    recipe: RecipePath,
    stage: StageName = None,
    exclude: Annotated[
        list[str] | None, typer.Option("--exclude-annotator", metavar="NAME", help="Not to be learnt from.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Take back every --exclude-annotator.")] = False,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="RULE", help="equal, or dawid_skene: by each one's care.")
    ] = None,
    overrides: Overrides = None,
    runs: Runs = RUNS,
) -> None:
    """Make the rows for training anew.

    With other weights, or without somebody; later imports keep to it.
    """
    _say(
        "rows", _batch(recipe, overrides, runs, stage), weights=weights, exclude=exclude or ([] if everybody else None)
    )


@app.command()
def status(recipe: RecipePath, stage: StageName = None, overrides: Overrides = None, runs: Runs = RUNS) -> None:
    """Say who has done what, and whether the run would go on."""
    run = _batch(recipe, overrides, runs, stage)
    _say("status", run)
    waits = load_recipe(recipe, overrides or ()).stages[run.stage].config.missing(run.output, returned(run))
    typer.echo(f"the run waits: {waits}" if waits else f"the run can go on: posttune run {recipe}")


@app.command()
def agreement(recipe: RecipePath, stage: StageName = None, overrides: Overrides = None, runs: Runs = RUNS) -> None:
    """Say how well people agree.

    With themselves, with each other and with gold; also written to agreement.json.
    """
    _say("agreement", _batch(recipe, overrides, runs, stage))


def _batch(path: Path, overrides: list[str] | None, runs: Path, stage: str | None) -> StageRun:
    """The run that made the batch, under the recipe's settings: of the stage named, or of the only one that has."""
    recipe = load_recipe(path, overrides or ())
    makers = [name for name, stage in recipe.stages.items() if type(stage.config).produces in AWAITED]
    if not makers:
        raise UserError("asks nobody for rankings", where=str(path), remedy="add a stage of kind collect")
    if stage is not None and stage not in makers:
        raise UserError(f"'{stage}' makes no batch", where=f"--stage {stage}", remedy=nearest(stage, makers))
    store = Store(runs, recipe)
    steps = {step.stage.name: step for step in planning.plan(recipe, store, [stage] if stage else makers)}
    asked = [stage] if stage else makers
    made = [name for name in asked if steps[name].action == "skip"]
    if len(made) == 1:
        return store.run(made[0], str(steps[made[0]].fingerprint))
    if made:
        raise UserError(f"has several batches: {', '.join(made)}", where=str(path), remedy=f"--stage {made[-1]}")
    why = "; ".join(f"{name}: {', '.join(steps[name].reasons)}" for name in asked)
    raise UserError(
        f"has published no batch under these settings ({why})",
        where=str(path),
        remedy=f"posttune run {path} {asked[0]}; for a batch of other settings, give those settings with --set",
    )


def _pairs(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    pairs = dict(one.partition("=")[::2] for one in given)
    for ours, theirs in pairs.items():
        if not ours or not theirs:
            raise UserError(
                "a map is OURS=COLUMN", where=f"--map {ours}", remedy="for example --map annotator=WorkerId"
            )
    return pairs


def _say(command: str, run: StageRun, **given: Any) -> None:
    said = registry.load(f"{registry.COLLECT}:{command}")(run.output, returned(run), **given)
    typer.echo("\n".join(said.lines))
    if said.exit_code:
        raise typer.Exit(said.exit_code)
