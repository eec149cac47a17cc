"""A recipe file -> a frozen, resolved Recipe. Every mistake a user can make in it is caught here.

Reading a recipe imports each stage's light `config.py` and nothing heavier.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field

from pipeline import registry, yaml_lines
from pipeline.contract import DataSource, Frozen, ModelConfig, Source, StageConfig, TaskConfig
from pipeline.errors import RecipeError, UserError, nearest
from pipeline.graph import Stage, connect
from pipeline.validation import explain
from pipeline.yaml_lines import Document

MAX_PARENTS = 20
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}")
MAKE_TARGETS = {
    "setup",
    "test",
    "check",
    "help",
    "lint",
    "type",
    "clean",
    "smoke",
    "plan",
    "status",
    "report",
    "all",
    "chaos",
    "bench",
}
RUN_FILES = {"recipe.yaml", "index.json", "hashes.json", "report.html"}  # a stage's folder lies beside them
RESERVED = MAKE_TARGETS | RUN_FILES | {"base", "data", "tests", "annotation"}


class WandbConfig(Frozen):
    """Weights & Biases. `auto` is online where a key is found, else offline; it never asks."""

    project: str = "posttune"
    entity: str | None = None
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"


class TrackingConfig(Frozen):
    """metrics.jsonl is always written; W&B only when this section has `wandb`."""

    wandb: WandbConfig | None = None


class LaunchConfig(Frozen):
    """How a stage's process is started: one process, or several on this machine, each with its GPU if there are any."""

    num_processes: int = Field(1, gt=0)
    num_machines: Literal[1] = 1  # this and the next two have one value that works so far; others are refused
    strategy: Literal["ddp"] = "ddp"
    mixed_precision: Literal["no"] = "no"


class _Sections(Frozen):
    """The keys of a recipe file but `stages`, whose configs depend on their kind."""

    name: str | None = None
    description: str = ""
    seed: int = Field(17, ge=0, lt=2**31)
    model: ModelConfig
    data: dict[str, DataSource] = Field(default_factory=dict)
    tasks: dict[str, TaskConfig] = Field(default_factory=dict)
    heldout_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    split_salt: str = "posttune"
    stages: dict[str, dict[str, Any]] = Field(min_length=1)
    tracking: TrackingConfig = TrackingConfig()
    launch: LaunchConfig = LaunchConfig()
    extends: str | None = None


@dataclass(frozen=True)
class Recipe:
    """A whole recipe, resolved. `stages` is in an order in which they can run."""

    name: str
    path: Path
    seed: int
    model: ModelConfig
    data: Mapping[str, DataSource]
    tasks: Mapping[str, TaskConfig]
    heldout_fraction: float
    split_salt: str
    stages: Mapping[str, Stage]
    tracking: TrackingConfig
    launch: LaunchConfig
    description: str = ""

    def stage(self, name: str) -> Stage:
        """The stage called `name`; UserError with the nearest known one otherwise."""
        if name not in self.stages:
            raise UserError(f"there is no stage '{name}'", where=str(self.path), remedy=nearest(name, self.stages))
        return self.stages[name]

    def source(self, name: str) -> Source:
        """The data source called `name`, as a stage receives it."""
        config = self.data[name]
        task = self.tasks.get(config.task or "", TaskConfig())
        return Source(name, config, task, self.heldout_fraction, self.split_salt)

    def resolved(self) -> dict[str, Any]:
        """The recipe with every default written out, as it is kept in the run folder."""
        return {
            "name": self.name,
            "description": self.description,
            "seed": self.seed,
            "model": self.model.model_dump(mode="json"),
            "data": {name: source.model_dump(mode="json") for name, source in self.data.items()},
            "tasks": {name: task.model_dump(mode="json") for name, task in self.tasks.items()},
            "heldout_fraction": self.heldout_fraction,
            "split_salt": self.split_salt,
            "stages": {s.name: {"kind": s.kind, **s.config.model_dump(mode="json")} for s in self.stages.values()},
            "tracking": self.tracking.model_dump(mode="json"),
            "launch": self.launch.model_dump(mode="json"),
        }


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read, merge (`extends`), override (`--set`), validate and resolve the recipe at `path`."""
    path = Path(path)
    document = _read_with_parents(path, ())
    for override in overrides:
        _apply_override(document, override)
    with explain(document, _Sections):
        sections = _Sections.model_validate(document.data)
    name = sections.name or path.stem
    if not NAME.fullmatch(name):
        raise RecipeError(
            f"the name '{name}' cannot name a folder",
            where=document.where(("name",)),
            remedy="use at most 100 letters, digits, '-', '_' and '.'",
        )
    _check_sources(document, sections)
    configs = {stage: _read_stage(document, sections, stage) for stage in sections.stages}
    stages = connect(document, configs, sections.data)
    _check_stages(document, sections, stages)
    return Recipe(
        name=name,
        path=path,
        seed=sections.seed,
        model=sections.model,
        data=sections.data,
        tasks=sections.tasks,
        heldout_fraction=sections.heldout_fraction,
        split_salt=sections.split_salt,
        stages=stages,
        tracking=sections.tracking,
        launch=sections.launch,
        description=sections.description,
    )


def _read_with_parents(path: Path, children: tuple[Path, ...]) -> Document:
    """The file merged over the one it extends; a key of the child wins, mappings merge key by key."""
    if path.resolve() in children:
        raise RecipeError("this file extends itself", where=str(path), remedy="break the ring of `extends`")
    document = yaml_lines.load(path)
    parent_name = document.data.get("extends")
    if parent_name is None:
        return document
    if not isinstance(parent_name, str):
        raise RecipeError("`extends` must be a path", where=document.where(("extends",)), remedy="extends: other.yaml")
    if len(children) == MAX_PARENTS:
        raise RecipeError(
            f"more than {MAX_PARENTS} files extend each other",
            where=document.where(("extends",)),
            remedy="extend fewer",
        )
    known = "\0" not in parent_name and os.path.exists(path.parent / parent_name)  # pathlib raises on too long a name
    if not known:
        raise RecipeError(
            f"there is no file {path.parent / parent_name}",
            where=document.where(("extends",)),
            remedy="name a recipe, relative to this file",
        )
    parent = _read_with_parents(path.parent / parent_name, (*children, path.resolve()))
    parent.data.pop("name", None)  # a child is another recipe: it takes its own name or its file's stem
    return Document(_merge(parent.data, document.data), {**parent.places, **document.places})


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _apply_override(document: Document, override: str) -> None:
    """`--set ppo.kl_coef=0.05`: a path that begins with a stage's name means that stage."""
    dotted, equals, text = override.partition("=")
    place = f"--set {override}"
    if not equals or not all(dotted.split(".")):
        raise RecipeError("an override is key=value", where=place, remedy="for example --set ppo.kl_coef=0.05")
    keys = dotted.split(".")
    if keys == ["extends"]:
        raise RecipeError("`extends` is read before any override", where=place, remedy="write it in the recipe")
    stages = document.data.get("stages")
    if isinstance(stages, dict) and keys[0] in stages and keys[0] not in _Sections.model_fields:
        keys = ["stages", *keys]
    at: Any = document.data
    for depth, key in enumerate(keys[:-1]):
        if at.get(key) is None:
            if depth == 0 and key not in _Sections.model_fields:
                raise RecipeError(
                    f"there is no stage or section '{key}'",
                    where=place,
                    remedy=nearest(key, {*_Sections.model_fields, *(stages or {})}),
                )
            at[key] = {}
        at = at[key]
        if not isinstance(at, dict):
            raise RecipeError(f"'{key}' holds a value, not further keys", where=place, remedy="shorten the key")
    try:
        at[keys[-1]] = yaml_lines.parse_scalar(text)
    except ValueError as error:
        raise RecipeError(str(error), where=place, remedy="quote it") from None
    document.places[tuple(keys)] = place


def _check_sources(document: Document, sections: _Sections) -> None:
    for name, source in sections.data.items():
        if source.task is not None and source.task not in sections.tasks:
            raise RecipeError(
                f"there is no task '{source.task}'",
                where=document.where(("data", name, "task")),
                remedy=nearest(source.task, sections.tasks),
            )
        if source.part is not None and not _part_is_sound(source.part):
            raise RecipeError(
                f"'{source.part}' is no part",
                where=document.where(("data", name, "part")),
                remedy='write "1/2" for the first half, "2/2" for the second',
            )


def _part_is_sound(part: str) -> bool:
    index, total = (int(number) for number in part.split("/"))
    return index <= total


def _read_stage(document: Document, sections: _Sections, name: str) -> tuple[str, StageConfig]:
    """Its kind, and its config as written."""
    place = document.where(("stages", name))
    if not NAME.fullmatch(name) or name in RESERVED or name in sections.data:
        raise RecipeError(
            f"a stage cannot be called '{name}'",
            where=place,
            remedy="use letters, digits, '-', '_'; not a make target, 'base' or the name of a data source",
        )
    raw = dict(sections.stages[name])
    kind = registry.find(str(raw.pop("kind", name)), where=place)
    config_class: type[StageConfig] = registry.load(kind.config)
    with explain(document, config_class, prefix=("stages", name)):
        return kind.name, config_class.model_validate(raw)


def _check_stages(document: Document, sections: _Sections, stages: Mapping[str, Stage]) -> None:
    """Each stage's own look at what the others, and the tasks of its data, make of its config."""
    for stage in stages.values():
        tasks = {
            field: [sections.tasks[task] for name in names if (task := sections.data[name].task)]
            for field, names in stage.data.items()
        }
        if problem := stage.config.problem(tasks):
            where = document.where(("stages", stage.name, *problem.key))
            raise RecipeError(problem.found, where=where, remedy=problem.remedy)


def dump_resolved(recipe: Recipe) -> str:
    """The resolved recipe as YAML text."""
    return yaml.safe_dump(recipe.resolved(), sort_keys=False, allow_unicode=True)
