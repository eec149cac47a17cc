"""Recipe and store -> what each stage would do now, and why. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline import registry
from pipeline.contract import AWAITED
from pipeline.errors import UserError
from pipeline.fingerprint import differences, fingerprint, material
from pipeline.graph import Stage
from pipeline.recipe import Recipe
from pipeline.stage_run import returned, rows_file
from pipeline.store import Store

Action = Literal["run", "resume", "skip", "wait"]  # wait: until people have sent their rankings
FORCED = ("forced",)


@dataclass(frozen=True)
class Step:
    """One stage's part in a plan. The fingerprint is unknown while one of its inputs is still to be made."""

    stage: Stage
    action: Action
    reasons: tuple[str, ...]
    fingerprint: str | None = None
    material: dict[str, Any] = field(default_factory=dict)


def plan(recipe: Recipe, store: Store, wanted: Sequence[str] = (), force: Sequence[str] = ()) -> list[Step]:
    """The steps for the wanted stages (all of them by default) and whatever they need, in order."""
    for name in force:
        if recipe.stage(name).name not in closure(recipe, wanted):
            raise UserError(
                f"'{name}' is not among the stages asked for",
                where=f"--force {name}",
                remedy=f"name it as a stage too, or leave out --force {name}",
            )
    digests: dict[str, str] = {}
    missing: dict[str, str] = {}
    held: list[str] = []
    steps = []
    for name in closure(recipe, wanted):
        step = plan_stage(recipe, store, recipe.stages[name], digests, missing, held, forced=name in force)
        if step.action == "wait":
            held.append(name)
        if step.action == "skip":
            digests[name] = store.run(name, str(step.fingerprint)).digest
            missing[name] = missing_rows(store, step)
            recipe = recipe if missing[name] else with_rows(recipe, store, step)
        steps.append(step)
    store.contents.save()
    return steps


def with_rows(recipe: Recipe, store: Store, step: Step) -> Recipe:
    """The recipe with each data source that this finished step feeds pointed at the rows it wrote."""
    fed = {name: source for name, source in recipe.data.items() if source.from_stage == step.stage.name}
    if not fed:
        return recipe
    rows = rows_file(store.run(step.stage.name, str(step.fingerprint)), type(step.stage.config).produces)
    return replace(recipe, data={**recipe.data, **{name: source.at(rows) for name, source in fed.items()}})


def missing_rows(store: Store, step: Step) -> str:
    """What people have still to send before the rows of this finished step can be read; "" for nothing."""
    if type(step.stage.config).produces not in AWAITED:
        return ""
    run = store.run(step.stage.name, str(step.fingerprint))
    return step.stage.config.missing(run.output, returned(run))


def closure(recipe: Recipe, wanted: Sequence[str]) -> list[str]:
    """The wanted stages with everything they need, in running order."""
    keep: set[str] = set()
    todo = [recipe.stage(name).name for name in wanted] or list(recipe.stages)
    while todo:
        name = todo.pop()
        if name not in keep:
            keep.add(name)
            todo.extend(recipe.stages[name].needs)
    return [name for name in recipe.stages if name in keep]


def foreign_code(recipe: Recipe, stages: Sequence[Stage]) -> list[str]:
    """What these stages would run that is not the product's code: all that a recipe can name, a line each."""
    lines = []
    for stage in stages:
        if stage.kind not in registry.BUILT_IN:
            lines.append(f"{stage.name}: the kind {stage.kind} of the package {registry.package_of(stage.kind)}")
        lines += [f"{stage.name}: {path} ({key})" for key, path in stage.config.foreign_code().items()]
    if recipe.model.trust_remote_code:
        lines.append(f"every stage: the code of {recipe.model.model_name_or_path} (model.trust_remote_code)")
    return lines


def plan_stage(
    recipe: Recipe,
    store: Store,
    stage: Stage,
    digests: Mapping[str, str],
    missing: Mapping[str, str],
    held: Sequence[str],
    *,
    forced: bool = False,
) -> Step:
    """What this stage would do, given the digests of the finished stages among those it needs.

    `missing` says of such a stage what people have still to send (`missing_rows`); those in `held` wait for that.
    """
    if waiting := sorted(stage.needs.intersection(held)):
        return Step(stage, "wait", tuple(f"{name} waits" for name in waiting))
    waits = sorted(stage.needs - digests.keys())
    if waits:
        return Step(stage, "run", tuple(f"{name} will change" for name in waits))
    awaited = tuple(f"{name}: {missing[name]}" for name in sorted(stage.rows_from) if missing.get(name))
    if awaited:
        return Step(stage, "wait", awaited)
    parts = material(recipe, stage, digests, store.contents)
    print_ = fingerprint(parts)
    run = store.run(stage.name, print_)
    if forced:
        return Step(stage, "run", FORCED, print_, parts)
    if run.published():
        return Step(stage, "skip", _why_up_to_date(stage), print_, parts)
    if run.has_checkpoint:
        return Step(stage, "resume", ("stopped in the middle; a checkpoint is there",), print_, parts)
    return Step(stage, "run", tuple(_why_run(recipe, store, stage, parts)), print_, parts)


def _why_up_to_date(stage: Stage) -> tuple[str, ...]:
    inputs = sorted({name for names in (*stage.inputs.values(), *stage.data.values()) for name in names})
    return (f"up to date: config and {', '.join(inputs)} unchanged",)


def _why_run(recipe: Recipe, store: Store, stage: Stage, parts: dict[str, Any]) -> list[str]:
    last = store.last_fingerprint(stage.name)
    if last is None:
        return ["not run yet"]
    run = store.run(stage.name, last)
    inputs = run.read("inputs.json")
    if not inputs:
        return [f"{run.folder / 'inputs.json'} cannot be read" if run.manifest() else "not run yet"]
    try:
        reasons = differences(inputs["material"], parts, recipe, inputs["rows"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # only words hang on it, not what is done
        return [f"{run.folder / 'inputs.json'} is not what posttune wrote"]
    return reasons or ["its last run did not finish"]
