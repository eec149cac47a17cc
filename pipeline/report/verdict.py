"""What stands on top of the page: the verdict, or how to come by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.folder import Run
from pipeline.report.text import items, plain

EVALUATE = "evaluate"  # the kind of stage that the page sends people to


@dataclass(frozen=True)
class Verdict:
    """A `verdict` fragment."""

    stage: str
    title: str
    sentences: Sequence[str]


def verdict(stage: str, fragment: Mapping[str, Any]) -> Verdict:
    """A `verdict` fragment as the page shows it."""
    return Verdict(stage, str(fragment.get("title", "")), [plain(s) for s in items(fragment.get("sentences"))])


def how_to_get_one(run: Run) -> tuple[str, str]:
    """Why there is no verdict, and the command that gives one."""
    stages = [stage for stage in run.stages if stage.kind == EVALUATE]
    names = " ".join(stage.name for stage in stages) or EVALUATE
    command = f"posttune run {run.recipe_path or 'RECIPE'} {names}"
    if not stages:
        return "The recipe has no stage that compares candidates. Add evaluate: under stages:, and run it.", command
    if any(stage.record for stage in stages):
        return f"{names} has finished, but left none. To evaluate anew:", f"{command} --force {names.split()[0]}"
    return f"{names} has not finished yet.", command
