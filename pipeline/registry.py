"""Stage kind -> where its parts are. Strings only, so that knowing a stage costs no import.

Another package adds a kind through the entry point group `posttune.stages`: the entry's name is the
kind, its value the folder package that holds `config.py` (`Config`, `estimate`) and `train.py` (`run`).
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from pipeline.errors import RecipeError, StageFailed, nearest


@dataclass(frozen=True)
class Kind:
    """Dotted paths (`module:name`) of one stage kind: the first two are light, the third may import torch."""

    name: str
    config: str
    estimate: str
    run: str


def _kind(name: str, package: str, module: str = "train") -> Kind:
    return Kind(name, f"{package}.config:Config", f"{package}.config:estimate", f"{package}.{module}:run")


BUILT_IN = {
    "audit": _kind("audit", "stages.audit", "audit"),
    "sft": _kind("sft", "stages.sft"),
    "rm": _kind("rm", "stages.rm"),
    "ppo": _kind("ppo", "stages.ppo"),
    "rloo": Kind("rloo", "stages.ppo.config:RlooConfig", "stages.ppo.config:estimate", "stages.ppo.train:run"),
    "grpo": Kind("grpo", "stages.ppo.config:GrpoConfig", "stages.ppo.config:estimate", "stages.ppo.train:run"),
    "dpo": _kind("dpo", "stages.dpo"),
    "sample": _kind("sample", "stages.sample", "sample"),
    "distill": _kind("distill", "stages.distill", "distill"),
    "collect": _kind("collect", "stages.collect", "collect"),
    "evaluate": _kind("evaluate", "stages.evaluate", "evaluate"),
    "lm-eval": _kind("lm-eval", "stages.harness", "harness"),
}

COLLECT = "stages.returns.commands"  # export, import_, rows, status and agreement of a batch
AUDIT = "stages.audit.audit:command"
CHECK_PLACES = "stages.formats.check:check_places"
CHECK_DATA = "stages.formats.check:check"
PREVIEW = "stages.preview.preview:preview"
PREVIEW_TERMINAL = "stages.preview.terminal:show"
PREVIEW_PAGE = "stages.preview.page:render"
CHAT = "stages.chat.chat:chat"
EXPORT = "stages.export.export:export"
EXPORT_ORDER = "stages.export.export:Order"
CHECKPOINT_DAMAGE = "stages.checkpoint.store:damage"
CHECK_TASK = "stages.evaluate.checks.task:check_task"


def find(name: str, *, where: str = "") -> Kind:
    """The kind called `name`; RecipeError with the nearest known one otherwise."""
    if name in BUILT_IN:
        return BUILT_IN[name]
    others = _others()
    if name in others:
        return _kind(name, others[name])
    raise RecipeError(f"there is no stage kind '{name}'", where=where, remedy=nearest(name, {*BUILT_IN, *others}))


def package_of(name: str) -> str:
    """The package that brings the third-party kind `name`."""
    return _others()[name]


def _others() -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group="posttune.stages")}


def load(dotted: str) -> Any:
    """The object at `module:name`."""
    module, _, name = dotted.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise StageFailed(
            f"cannot be loaded ({type(error).__name__}: {error})",
            where=dotted,
            remedy="install what it needs: make setup",
        ) from error
