"""A run as one HTML page: style and script are inside it, nothing is loaded, and no other script may run.

Everything a model or a person wrote reaches the template as plain text, which jinja2 escapes; `finalize`
makes hidden characters visible on the way. Only curves.py, plots.py, lineage.py, samples.py and tables.py make
markup, from escaped parts.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from pipeline.report.card import cards
from pipeline.report.curves import stage_curves
from pipeline.report.folder import Run, StageView
from pipeline.report.lineage import lineage
from pipeline.report.plots import PlotView, plot
from pipeline.report.samples import SampleSet, sample_set
from pipeline.report.tables import TableView, breakable, table
from pipeline.report.text import NOTHING, cell, duration, is_number, mapping, memory, number, plain, visible
from pipeline.report.verdict import EVALUATE, how_to_get_one, verdict

AUDIT = "audit"  # the kind of stage whose tables are about data
Figures = tuple[str, list[TableView] | list[PlotView]]  # curves, plots or tables: what all of them are
KNOWN = ("table", "plot", "samples", "verdict")
TOLD = ("device", "seed", "threads", "python", "platform")  # of the manifest, under "Where it ran"


def render(run: Run) -> str:
    """The page's HTML."""
    style, script = _asset("page.css"), _asset("page.js")
    samples = _samples(run.stages)
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters.update(duration=duration, memory=memory, number=number, cell=cell, breakable=breakable)
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
        verdicts=[verdict(stage.name, given) for stage, given in _fragments(run.stages, "verdict")],
        way_to_verdict=how_to_get_one(run),
        figures=_by_stage([stage for stage in run.stages if stage.kind == EVALUATE]),
        on_the_way=_by_stage([stage for stage in run.stages if stage.kind not in (EVALUATE, AUDIT)]),
        findings=_by_stage([stage for stage in run.stages if stage.kind == AUDIT]),
        finals=[(stage.name, sorted(mapping(stage.record.get("metrics")).items())) for stage in run.stages],
        curves=[(stage.name, stage_curves(stage.series)) for stage in run.stages if stage.series],
        samples=samples,
        differing=list(dict.fromkeys(name for one in samples for name in one.differing)),
        unknown=_unknown(run.stages),
        cards=cards(run.stages),
        lineage=lineage(run),
        machines=_machines(run.stages),
    )


def _asset(name: str) -> str:
    return files("pipeline.report").joinpath(name).read_text("utf-8")


def _csp_hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _fragments(stages: Iterable[StageView], *kinds: str) -> list[tuple[StageView, Mapping[str, Any]]]:
    """(stage, fragment) of these types: evaluation's first, then in the order of the stages."""
    ordered = sorted(stages, key=lambda stage: stage.kind != EVALUATE)
    return [(stage, given) for stage in ordered for given in stage.fragments if given.get("type") in kinds]


def _by_stage(stages: Sequence[StageView]) -> list[tuple[str, list[Figures]]]:
    """Each stage's tables and plots; stages that gave none are left out."""
    return [(stage.name, found) for stage in stages if (found := _figures(stage))]


def _figures(stage: StageView) -> list[Figures]:
    """Tables and plots in the order in which the stage gave them; curves that follow each other share a grid."""
    drawn: list[TableView | PlotView] = [
        plot(stage.name, given) if given["type"] == "plot" else table(stage.name, given)
        for _, given in _fragments([stage], "table", "plot")
    ]
    kinds = {(PlotView, True): "curves", (PlotView, False): "plots", (TableView, False): "tables"}
    together = groupby(drawn, key=lambda one: kinds[type(one), isinstance(one, PlotView) and one.joined])
    return [(kind, list(found)) for kind, found in together]  # type: ignore[misc]


def _samples(stages: Sequence[StageView]) -> list[SampleSet]:
    return [sample_set(stage.name, given) for stage, given in _fragments(stages, "samples")]


def _unknown(stages: Sequence[StageView]) -> list[tuple[str, str]]:
    """Fragments of a type this page cannot show: named, so that none is lost in silence."""
    return [
        (stage.name, str(given.get("type")))
        for stage in stages
        for given in stage.fragments
        if given.get("type") not in KNOWN
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
