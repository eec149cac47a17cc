"""What a worker is asked to do: a stage, the artifacts and data it starts from, and how it is tracked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline import manifest, redaction
from pipeline.content import data_digest
from pipeline.contract import DataSource, Source
from pipeline.graph import Stage, input_fields
from pipeline.plan import closure
from pipeline.recipe import Recipe
from pipeline.stage_run import StageRun
from pipeline.store import Store
from pipeline.worker import Job

Made = Mapping[str, StageRun]  # finished stages by name: the very runs that a plan was made of


def job_of(recipe: Recipe, folder: Store, stage: Stage, run: StageRun, made: Made) -> Job:
    """The job of one run of a stage."""
    inputs = {
        field: [_artifact(recipe, made, name) for name in stage.inputs[field]]
        for field, mark in input_fields(type(stage.config))
        if mark.role
    }
    data = {field: [_as_plain(source) for source in map(recipe.source, names)] for field, names in stage.data.items()}
    return Job(
        stage=stage.name,
        kind=stage.kind,
        folder=redaction.hide_home(str(run.folder)),
        config=stage.config.model_dump(mode="json"),
        model=recipe.model.model_dump(mode="json"),
        seed=recipe.seed,
        inputs=inputs,
        data=data,
        wandb=_wandb(recipe, folder, stage, run, made),
    )


def _artifact(recipe: Recipe, made: Made, name: str) -> dict[str, Any]:
    if name == "base":
        return {"name": "base", "role": "policy", "path": None, "digest": "", "seconds": None}
    run, role = made[name], type(recipe.stages[name].config).produces
    path, seconds = redaction.hide_home(str(run.output)), _seconds(recipe, made, name)
    return {"name": name, "role": role, "path": path, "digest": run.digest, "seconds": seconds}


def _seconds(recipe: Recipe, made: Made, name: str) -> float:
    """What the stage and all that it needs took, each counted once."""
    return sum(float(made[stage].read(manifest.FILE)["seconds"]) for stage in closure(recipe, [name]))


def _as_plain(source: Source) -> dict[str, Any]:
    config: DataSource = source.config
    return {
        "name": source.name,
        "config": config.model_dump(mode="json"),
        "task": source.task.model_dump(mode="json"),
        "heldout_fraction": source.heldout_fraction,
        "salt": source.salt,
    }


def inputs_of(stage: Stage, made: Made) -> dict[str, str]:
    """The digests of the artifacts this stage starts from."""
    return {name: made[name].digest for name in sorted(stage.needs)}


def _wandb(recipe: Recipe, folder: Store, stage: Stage, run: StageRun, made: Made) -> dict[str, Any] | None:
    """The W&B run's settings (design: group = run folder, job type = kind, the same id after a resume)."""
    if recipe.tracking.wandb is None:
        return None
    return {
        **recipe.tracking.wandb.model_dump(),
        "group": f"{recipe.name}-{folder.id}",
        "job_type": stage.kind,
        "name": f"{recipe.name}-{stage.name}-{run.fingerprint[:8]}",
        "config": {
            **stage.config.model_dump(mode="json"),
            "seed": recipe.seed,
            "model": recipe.model.model_dump(mode="json"),
            "fingerprint": run.fingerprint,
            "input_digests": inputs_of(stage, made),
            "data_digests": {name: folder_digest for name, folder_digest in _data_digests(recipe, folder, stage)},
        },
    }


def _data_digests(recipe: Recipe, folder: Store, stage: Stage) -> list[tuple[str, str]]:
    names = sorted({name for names in stage.data.values() for name in names})
    return [(name, data_digest(recipe.data[name], folder.contents)) for name in names]
