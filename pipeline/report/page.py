"""A run as one HTML page: style and script are inside it, nothing is loaded, and no other script may run.

Everything a model or a person wrote reaches the template as plain text, which jinja2 escapes; `finalize`
makes hidden characters visible on the way. Only curves.py and samples.py make markup, from escaped parts.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.report.curves import stage_curves
from pipeline.report.folder import Run, StageView, mapping, plain
from pipeline.report.samples import SampleSet, sample_set
from pipeline.report.tables import TableView, table
from pipeline.report.text import NOTHING, cell, duration, is_number, memory, number, visible

TOLD = ("device", "seed", "threads", "python", "platform")  # of the manifest, under "Where it ran"


def render(run: Run) -> str:
    """The page's HTML."""
    style, script = _asset("page.css"), _asset("page.js")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters.update(duration=duration, memory=memory, number=number, cell=cell)
    return environment.from_string(_asset("page.html.jinja")).render(
        run=run,
        style=Markup(style),
        script=Markup(script),
        style_hash=_csp_hash(style),
        script_hash=_csp_hash(script),
        description=plain(run.recipe.get("description")),
        facts=_facts(run),
        when=_when(run),
        nothing=NOTHING,
        seconds=sum(_seconds(stage) for stage in run.stages),
        tables=_tables(run.stages),
        finals=[(stage.name, sorted(mapping(stage.record.get("metrics")).items())) for stage in run.stages],
        curves=[(stage.name, stage_curves(stage.series)) for stage in run.stages if stage.series],
        samples=_samples(run.stages),
        unknown=_unknown(run.stages),
        machines=_machines(run.stages),
    )


def _asset(name: str) -> str:
    return files("pipeline.report").joinpath(name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _fragments(stages: Iterable[StageView], kind: str) -> list[tuple[str, Mapping[str, Any]]]:
    """(stage, fragment) of one type: evaluation's first, then in the order of the stages."""
    ordered = sorted(stages, key=lambda stage: stage.kind != "evaluate")
    return [(stage.name, given) for stage in ordered for given in stage.fragments if given.get("type") == kind]


def _tables(stages: Sequence[StageView]) -> list[TableView]:
    return [table(stage, given) for stage, given in _fragments(stages, "table")]


def _samples(stages: Sequence[StageView]) -> list[SampleSet]:
    return [sample_set(stage, given) for stage, given in _fragments(stages, "samples")]


def _unknown(stages: Sequence[StageView]) -> list[tuple[str, str]]:
    """Fragments of a type this page cannot show: named, so that none is lost in silence."""
    return [
        (stage.name, str(given.get("type")))
        for stage in stages
        for given in stage.fragments
        if given.get("type") not in ("table", "samples")
    ]


def _facts(run: Run) -> list[tuple[str, str]]:
    """What the recipe says in a few words."""
    recipe, model = run.recipe, mapping(run.recipe.get("model"))
    lora, share = mapping(model.get("lora")), recipe.get("heldout_fraction")
    facts = [
        ("Model", model.get("model_name_or_path")),
        ("Trains", f"LoRA, rank {cell(lora.get('r'))}" if lora else "every weight" if model else None),
        ("Seed", recipe.get("seed")),
        ("Held out", f"{number(100 * share)} % of prompts" if is_number(share) else None),
    ]
    return [(name, plain(value)) for name, value in facts if plain(value)]


def _when(run: Run) -> str:
    """When the folder last changed, in UTC."""
    last = max((stage.changed for stage in run.stages), default=0.0)
    return datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M UTC") if last else ""


def _seconds(stage: StageView) -> float:
    spent = stage.record.get("seconds")
    return float(spent) if is_number(spent) else 0.0


def _machines(stages: Sequence[StageView]) -> list[tuple[str, list[tuple[str, str]]]]:
    """What each finished stage ran on and with; stages that agree in all of it share one entry."""
    by_facts: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for stage in stages:
        if stage.record:
            told = [
                (name, cell(stage.record[name]) if name != "seed" else str(stage.record[name]))
                for name in TOLD
                if name in stage.record
            ]
            packages = [(str(name), str(found)) for name, found in mapping(stage.record.get("versions")).items()]
            by_facts.setdefault((*told, *packages), []).append(stage.name)
    return [(", ".join(names), list(facts)) for facts, names in by_facts.items()]
