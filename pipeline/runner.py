"""The loop over the plan: run or resume each stage in its own process, publish what it made, say what happened."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from pipeline import launch, redaction, registry, report, stage_run, tracking
from pipeline.contract import AWAITED
from pipeline.errors import Interrupted, PosttuneError, StageFailed, UserError, Waiting
from pipeline.files import read_json, size, write_atomically
from pipeline.fingerprint import record_rows
from pipeline.graph import Stage
from pipeline.jobs import Made, inputs_of, job_of
from pipeline.plan import FORCED, Step, closure, missing_rows, plan, plan_stage, with_rows
from pipeline.preflight import check_data
from pipeline.recipe import LaunchConfig, Recipe
from pipeline.stage_run import StageRun
from pipeline.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """Of one run, none of which changes what a stage is."""

    debug: bool = False  # show tracebacks, and what libraries print
    allow_drift: bool = False  # resume on another processor, or under other versions or threads


DEFAULT = Options()
FULL = 2**20  # bytes free, too few to write what went wrong


def run(
    recipe: Recipe,
    runs: Path,
    wanted: Sequence[str],
    force: Sequence[str] = (),
    options: Options = DEFAULT,
    say: Say = print,
) -> None:
    """Bring the wanted stages, and whatever they need, up to date; raises the first stage's error."""
    folder = Store(runs, recipe)
    steps = plan(recipe, folder, wanted, force)
    check_data(recipe, [step.stage for step in steps if step.action != "skip"])
    folder.create()
    held: dict[str, str] = {}  # stages that cannot start -> why
    missing: dict[str, str] = {}  # stages whose rows people have still to make -> what is missing
    made: dict[str, StageRun] = {}  # the very runs that later stages read, whatever another engine makes current
    changed = done = refused = False
    try:
        for name in closure(recipe, wanted):
            digests = {other: finished.digest for other, finished in made.items()}
            step = plan_stage(recipe, folder, recipe.stages[name], digests, missing, list(held), forced=name in force)
            reasons = "; ".join(step.reasons)
            say(f"{name}: {reasons}" if step.action == "skip" else f"{name}: {step.action} ({reasons})")
            if step.action == "wait":
                held[name] = reasons
                continue
            if step.action != "skip":
                _verify_inputs(folder, step, made)
                changed = True
                _execute(recipe, folder, step, made, options, say)
                done = True
            made[name] = folder.run(name, str(step.fingerprint))
            missing[name] = missing_rows(folder, step)
            recipe = recipe if missing[name] else with_rows(recipe, folder, step)
            if folder.last_fingerprint(name) != step.fingerprint:
                folder.point(name, str(step.fingerprint))
                changed = True
    except UserError:
        if not done:  # the folder stays as it was, report and all
            folder.withdraw()
            refused = True
        raise
    finally:
        is_due = not refused and (changed or _report_is_old(folder, made))
        if is_due and (folder.root / "index.json").exists():
            _write_report(folder.root, say)
    say(f"report: {folder.root / 'report.html'}")
    if held:
        raise _waiting(recipe, held)


def _waiting(recipe: Recipe, held: Mapping[str, str]) -> Waiting:
    name, reason = next(iter(held.items()))
    batch = f"{recipe.path} --stage {reason.partition(':')[0]}"
    return Waiting(
        f"{name} waits for people's rankings ({reason})",
        where=str(recipe.path),
        remedy=f"posttune collect export {batch} makes the files to hand out, posttune collect import {batch} FILE... "
        "takes back what they send; then run the same command again",
    )


def _report_is_old(folder: Store, made: Made) -> bool:
    """Whether a stage has finished since the report: its engine was killed between the two."""
    report = folder.root / "report.html"
    written = report.stat().st_mtime_ns if report.exists() else 0
    return any((run.folder / "manifest.json").stat().st_mtime_ns > written for run in made.values()) or not written


def _write_report(root: Path, say: Say) -> None:
    """A full disk must not hide the stage's own error."""
    try:
        report.write(root)
    except OSError as error:
        say(f"the report could not be written: {error.strerror}")


def _verify_inputs(folder: Store, step: Step, made: Made) -> None:
    """Whatever this stage reads is what was published; a resume finds the state that its own run left."""
    for name in sorted(step.stage.needs):
        stage_run.verify(made[name])
    if step.action == "resume":
        tracking.read_state(folder.run(step.stage.name, str(step.fingerprint)).folder)


def _execute(recipe: Recipe, folder: Store, step: Step, made: Made, options: Options, say: Say) -> None:
    """Run or resume one stage to its published artifact."""
    stage, started = step.stage, time.monotonic()
    run = folder.run(stage.name, str(step.fingerprint))
    with stage_run.locked(run) as lock:
        if run.manifest() and step.reasons != FORCED:
            say(f"{stage.name}: another process has just finished it")
            return
        _check_unanswered(stage, run)
        _check_room(recipe, stage, run)  # while what --force will replace is still there
        before, files = folder.last_fingerprint(stage.name), stage_run.remember(run)
        if step.action == "run":
            stage_run.forget(run, forced=step.reasons == FORCED)
        config = yaml.safe_dump({"kind": stage.kind, **stage.config.model_dump(mode="json")}, sort_keys=False)
        inputs = inputs_of(stage, made)
        stage_run.prepare(
            run, config, {"material": step.material, "rows": record_rows(recipe, stage), "inputs": inputs}
        )
        folder.point(stage.name, run.fingerprint)
        try:
            result = _run_worker(recipe, folder, stage, run, made, lock, options)
        except UserError:
            if stage_run.discard(run, files):
                folder.point(stage.name, before if before != run.fingerprint else None)
            raise
        report.finish_card(run, result["report"]["fragments"])
        stage_run.publish(run, {**result["record"], "inputs": inputs}, result["report"])
    for line in result["summary"]:
        say(f"  {line}")
    peak = result["record"]["peak_memory_mb"] / 1024
    say(f"{stage.name}: done in {time.monotonic() - started:.0f} s, {peak:.1f} GB at most -> {run.output}")
    if result["told_to_stop"]:  # too late for the stage, in time for the ones after it
        raise Interrupted(f"stopped after {stage.name}", remedy="run the same command again to go on")


def _check_unanswered(stage: Stage, run: StageRun) -> None:
    """A batch that people have answered is not made anew: other bits would leave their answers without their tasks."""
    if type(stage.config).produces in AWAITED and stage_run.returned(run).exists():
        raise UserError(
            f"this batch has gone out to people: {stage_run.returned(run)}",
            where=stage.name,
            remedy="change a setting for another batch, for example the title, or move that folder away",
        )


def _check_room(recipe: Recipe, stage: Stage, run: StageRun) -> None:
    """Refuse a stage whose checkpoints are not going to fit, before it trains."""
    estimate = registry.load(registry.find(stage.kind).estimate)(stage.config, recipe.model)
    if estimate.disk_gb is None:
        return
    needed = estimate.disk_gb * 2**10 - size(run.folder) / 2**20
    free = shutil.disk_usage(run.folder).free / 2**20
    if free < needed:
        raise StageFailed(
            f"it will write up to {needed:,.1f} MB here, and {free:,.1f} are free",
            where=f"{stage.name}: {run.folder}",
            remedy="free some space (posttune gc lists what nothing needs), lower save_total_limit, or use --runs",
        )


def _run_worker(
    recipe: Recipe,
    folder: Store,
    stage: Stage,
    run: StageRun,
    made: Made,
    lock: int,
    options: Options,
) -> dict[str, Any]:
    for name in ("result.json", "error.json"):
        (run.folder / name).unlink(missing_ok=True)
    job = run.folder / "job.json"
    asked = replace(job_of(recipe, folder, stage, run, made), debug=options.debug, allow_drift=options.allow_drift)
    write_atomically(job, json.dumps(asdict(asked)))
    processes = recipe.launch if type(stage.config).distributed else LaunchConfig()
    try:
        ended = launch.run_worker(processes, job, lock)
    finally:
        _clean(run)
    result = read_json(run.folder / "result.json")
    if ended.status == 0 and result is not None:
        (run.folder / "result.json").unlink()  # now: a kill once the manifest is there would leave it
        return {**result, "told_to_stop": ended.told_to_stop}
    raise _failure(run, ended.status, options)


def _clean(run: StageRun) -> None:
    """Take secrets and home paths out of what the stage has printed, and what its libraries have noted."""
    (run.folder / "job.json").unlink(missing_ok=True)
    for path in (
        run.log,
        *(run.folder / name for name in ("error.json", "result.json")),
        *run.folder.glob("wandb/**/*.log"),
    ):
        redaction.clean_file(path)


def _failure(run: StageRun, code: int, options: Options) -> PosttuneError:
    """The worker's own account of what went wrong, or what its exit status tells."""
    told = read_json(run.folder / "error.json")
    if told:
        kind = {2: UserError, 130: Interrupted}.get(told["code"], StageFailed)
        remedy = told["remedy"] or (
            "its traceback is above" if options.debug else f"the whole traceback is in {run.log}"
        )
        return kind(told["problem"], where=told["where"] or run.stage, remedy=remedy)
    if shutil.disk_usage(run.folder).free < FULL:
        return StageFailed(
            "the disk is full", where=str(run.folder), remedy="free some space and run again: checkpoints are intact"
        )
    if code == 130 or -code in launch.SIGNALS:
        return Interrupted("stopped at once", where=run.stage, remedy="the next run goes on from the last checkpoint")
    if -code == signal.SIGKILL:
        return StageFailed(
            "the stage was killed (signal 9): most often the machine ran out of memory",
            where=run.stage,
            remedy="lower per_device_train_batch_size or max_length; the next run goes on from the last checkpoint",
        )
    return StageFailed(f"the stage ended with status {code}", where=run.stage, remedy=f"see {run.log}")
