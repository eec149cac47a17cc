"""The `posttune` command. Every error ends in one short message and the exit code of its kind."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from pipeline import __version__, auditing, collecting, looking, using
from pipeline.errors import FAILED, INTERRUPTED, WRONG_INPUT, PosttuneError, StageFailed, UserError
from pipeline.options import RUNS, Debug, Overrides, RecipePath, Runs
from pipeline.recipe import Recipe, dump_resolved, load_recipe
from pipeline.store import Store

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # to draw frames around the help takes a tenth of a second more
    help="Instruction tuning, reward models from ranked comparisons, PPO and DPO, in resumable stages.",
)

StageNames = Annotated[list[str] | None, typer.Argument(metavar="STAGE", help="Stage names; all of them by default.")]
Force = Annotated[
    list[str] | None, typer.Option("--force", metavar="STAGE", help="Run this stage again from its start.")
]
AllowDrift = Annotated[
    bool, typer.Option("--allow-drift", help="Resume on another processor, or under other versions or threads, too.")
]
# typer brings its own copy of click, or uses the installed one, by version: this is UsageError of the right one.
USAGE_ERROR: type[BaseException] = typer.BadParameter.__mro__[1]


@app.command()
def run(
    recipe: RecipePath,
    stages: StageNames = None,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    force: Force = None,
    debug: Debug = False,
    allow_drift: AllowDrift = False,
) -> None:
    """Run stages, and what they need that is missing or stale."""
    from pipeline import runner

    loaded = load_recipe(recipe, overrides or ())
    runner.run(loaded, runs, stages or (), force or (), runner.Options(debug, allow_drift), say=_say)


@app.command()
def plan(
    recipe: RecipePath, stages: StageNames = None, overrides: Overrides = None, runs: Runs = RUNS, force: Force = None
) -> None:
    """Show what `run` would do, stage by stage, and why."""
    from pipeline import plan as planning
    from pipeline import preflight, registry

    loaded = load_recipe(recipe, overrides or ())
    steps = planning.plan(loaded, Store(runs, loaded), stages or (), force or ())
    preflight.check_places(loaded, [step.stage for step in steps if step.action != "skip"])
    rows = [(step.stage.name, step.action, "; ".join(step.reasons)) for step in steps]
    _say_table(("stage", "does", "because"), rows)
    for step in steps:
        if step.action != "skip":
            estimate = registry.load(registry.find(step.stage.kind).estimate)(step.stage.config, loaded.model)
            for note in estimate.notes:
                _say(f"{step.stage.name}: {note}")
    code = planning.foreign_code(loaded, [step.stage for step in steps])
    if code:
        _say("\n".join(["code from outside posttune that this recipe runs:", *(f"  {line}" for line in code)]))


@app.command()
def status(recipe: RecipePath, overrides: Overrides = None, runs: Runs = RUNS) -> None:
    """Show each stage's state, figures and folder."""
    loaded = load_recipe(recipe, overrides or ())
    store = Store(runs, loaded)
    rows = [(name, *_state(loaded, store, name)) for name in loaded.stages]
    _say_table(("stage", "state", "figures", "folder"), rows)


@app.command()
def report(recipe: RecipePath, overrides: Overrides = None, runs: Runs = RUNS) -> None:
    """Write the run folder's report.html anew."""
    from pipeline import report as reporting

    _say(f"report: {reporting.write(_opened(recipe, overrides, runs)[1].root)}")


@app.command()
def verify(recipe: RecipePath, overrides: Overrides = None, runs: Runs = RUNS) -> None:
    """Check by hashes what stages published, and checkpoints."""
    from pipeline import upkeep

    root = _opened(recipe, overrides, runs)[1].root
    found = upkeep.verify(root)
    rows = [(os.path.relpath(c.place, root), str(c.count), _told(c)) for c in found]
    _say_table(("where", "hashed", "state"), rows)
    if damaged := [checked for checked in found if checked.problems]:
        raise StageFailed(
            f"{len(damaged)} of {len(found)} places are not as they were written",
            where=str(root),
            remedy=f"posttune run {recipe} --force STAGE makes a stage anew; a damaged checkpoint is passed over",
        )


@app.command()
def gc(
    recipe: RecipePath,
    overrides: Overrides = None,
    runs: Runs = RUNS,
    delete: Annotated[bool, typer.Option("--delete", help="Remove what is listed.")] = False,
) -> None:
    """List runs that no stage uses any more, or remove them.

    That is: runs under settings that are neither the recipe's nor the last, and what is half-written.
    """
    from pipeline import plan as planning
    from pipeline import upkeep

    loaded, store = _opened(recipe, overrides, runs)
    if not (store.root / "index.json").is_file():
        raise UserError(
            "has no index, which tells what is still wanted",
            where=str(store.root),
            remedy=f"posttune run {recipe} makes one",
        )
    planned = [(step.stage.name, step.fingerprint) for step in planning.plan(loaded, store)]
    last = [(name, store.last_fingerprint(name)) for name in loaded.stages]
    keep = {(name, print_[:12]) for name, print_ in (*planned, *last) if print_}
    found = upkeep.unnamed(store.root, keep, delete=delete)
    if not found:
        _say("everything here is in use")
        return
    rows = [(str(u.path), f"{u.num_bytes / 1e6:.1f}", u.why + (", in use: stays" if u.in_use else "")) for u in found]
    _say_table(("where", "MB", "why"), rows)
    total = sum(item.num_bytes for item in found if not item.in_use)
    _say(f"{total / 1e6:.1f} MB {'freed' if delete else 'in all; --delete removes it'}")


app.command()(auditing.audit)
app.command()(looking.preview)
app.command()(using.chat)
app.command()(using.export)
app.add_typer(collecting.app, name="collect")


@app.command()
def show(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Print the resolved recipe: every default written out."""
    sys.stdout.write(dump_resolved(load_recipe(recipe, overrides or ())))


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"posttune {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of the command itself."""


def _told(checked: Any) -> str:
    return "in use: not looked at" if checked.is_in_use else "; ".join(checked.problems) or "as written"


def _opened(recipe: Path, overrides: Sequence[str] | None, runs: Path) -> tuple[Recipe, Store]:
    """The recipe and its run folder, where there is one."""
    loaded = load_recipe(recipe, overrides or ())
    store = Store(runs, loaded)
    if not store.root.is_dir():
        raise UserError("nothing has run yet", where=str(store.root), remedy=f"posttune run {recipe}")
    return loaded, store


def _state(recipe: Recipe, store: Store, name: str) -> tuple[str, str, str]:
    from pipeline import upkeep

    last = store.last_fingerprint(name)
    if last is None:
        return "not run yet", "", ""
    run = store.run(name, last)
    if upkeep.is_in_use(run):
        return "running", "", str(run.folder)
    manifest = run.manifest()
    if manifest is None:
        return ("stopped, has a checkpoint" if run.has_checkpoint else "not finished"), "", str(run.folder)
    return f"done in {manifest['seconds']:.0f} s", _figures(manifest["metrics"]), str(run.folder)


def _figures(metrics: Mapping[str, float]) -> str:
    """The first four; those that only count the data where there are no others."""
    results = {name: value for name, value in metrics.items() if not name.startswith("data/")} or metrics
    return "  ".join(f"{name} {value:.4g}" for name, value in list(results.items())[:4])


def _say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns in plain text; rich's own tables would cut long reasons to the terminal's width."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        _say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _say(text: str) -> None:
    typer.echo(text)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Entry point: run the command, and turn any error into one message and an exit code."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    sys.exit(_guard(lambda: app(arguments, standalone_mode=False), debug="--debug" in arguments))


def _guard(command: Callable[[], Any], debug: bool) -> int:
    try:
        if command() == INTERRUPTED:  # typer's answer to Ctrl-C
            raise KeyboardInterrupt
        return 0
    except PosttuneError as error:
        _complain(str(error), debug)
        return error.exit_code
    except typer.Exit as done:
        return int(done.exit_code)
    except USAGE_ERROR as error:
        _complain(_said_of_usage(error), debug)
        return WRONG_INPUT
    except (KeyboardInterrupt, typer.Abort):
        _complain("interrupted\n  -> run the same command again to go on", False)
        return INTERRUPTED
    except OSError as error:
        _complain(
            f"{error.filename or 'a file'}: {error.strerror or error}\n"
            "  -> check the path, its permissions and the space on the disk",
            debug,
        )
        return FAILED
    except Exception as error:  # a mistake of ours; it too ends in one message
        _complain(
            f"{type(error).__name__}: {error}\n  -> this is a bug: run it again with --debug and report what it says",
            debug,
        )
        return FAILED


def _said_of_usage(error: Any) -> str:
    """What is wrong with a command line, and whose help says more; a choice comes in pydantic's words."""
    found = error.format_message().replace("Value error, ", "")
    return f"{found}\n  -> {error.ctx.command_path if error.ctx else 'posttune'} --help"


def _complain(message: str, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"error: {message}\n")
