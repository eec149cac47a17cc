"""Model cards: what an artifact is, what it was made from, and how good it is.

A stage writes the first half of its artifact's README.md: the base, how to load it, what it is not for. The engine
adds the rest when the stage has ended, from the same facts that the page shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.folder import StageView
from pipeline.report.origin import Ingredient, MadeFrom
from pipeline.report.tables import TableView, table
from pipeline.report.text import NOTHING, is_number, mapping, number, plain, visible

PROGRAM = re.compile(r"^```python\n(.*?)^```", re.S | re.M)
SYNTAX = re.compile(r"([\\`*_\[\]<>|#&])")  # of Markdown, and of the HTML that it lets through
LICENCE = "not stated: the licences of the base model and of each data source apply"
MAX_ROWS = 60


@dataclass(frozen=True)
class Card:
    """The page's card of one policy or reward model."""

    stage: str
    digest: str
    facts: Sequence[tuple[str, str]]
    inputs: Sequence[Ingredient]
    data: Sequence[Ingredient]
    settings: str
    figures: Sequence[tuple[str, str]]
    program: str  # that loads it


def cards(stages: Iterable[StageView]) -> list[Card]:
    """One of each finished stage whose artifact is a model."""
    return [_card(stage) for stage in stages if stage.model.get("role") in ("policy", "reward")]


def _card(stage: StageView) -> Card:
    model, lora = stage.model, mapping(stage.made_from.model.get("lora"))
    tuning = f"LoRA adapter, rank {plain(lora.get('r'))}" if lora else "every weight"
    sizes = [mapping(entry).get("size") for entry in mapping(stage.record.get("files")).values()]
    facts = [
        ("Is", "a reward model" if model["role"] == "reward" else "a policy"),
        ("Made by", plain(model.get("made_by"))),
        ("Base", plain(model.get("base"))),
        ("Trained", tuning if stage.made_from.model else plain(model.get("tuning"))),
        ("Files", f"{sum(size for size in sizes if is_number(size)) / 2**20:,.1f} MB"),
        ("Licence", LICENCE),
    ]
    figures = [(str(name), value) for name, value in mapping(stage.record.get("metrics")).items()]
    program = PROGRAM.search(stage.readme)
    return Card(
        stage.name,
        plain(stage.record.get("digest")),
        [(name, value) for name, value in facts if value],
        stage.made_from.inputs,
        stage.made_from.data,
        _settings(stage.made_from),
        [(name, number(value)) for name, value in figures if name.startswith("heldout/") and is_number(value)],
        program[1] if program else "",
    )


def finish(readme: str, made: MadeFrom, fragments: Sequence[Mapping[str, Any]]) -> str:
    """An artifact's README.md with what only the engine knows: digests, settings, and the figures at the end."""
    tables = [table("", fragment) for fragment in fragments if fragment.get("type") == "table"]
    parts = [
        readme.rstrip("\n"),
        "## Made from\n",
        *_origin(made),
        "## Settings\n\nThose that can change the result; the rest is in the run folder.\n",
        f"```yaml\n{_settings(made)}```\n",
        *(["## Held-out figures\n"] if tables else []),
        *(_markdown(one) for one in tables),
    ]
    return visible("\n".join(part if part.endswith("\n") else part + "\n" for part in parts))


def _origin(made: MadeFrom) -> Iterator[str]:
    rows = [("input", *_cells(one)) for one in made.inputs] + [("data", *_cells(one)) for one in made.data]
    yield _rows(["", "as", "name", "rows", "SHA-256"], rows)
    yield "Rows are those of the whole source, before the held-out prompts are set apart.\n"


def _cells(one: Ingredient) -> tuple[str, str, str, str]:
    rows = NOTHING if one.num_rows is None else f"{one.num_rows:,}"
    return escaped(one.field), escaped(one.name), rows, f"`{one.digest}`" if one.digest else NOTHING


def _settings(made: MadeFrom) -> str:
    """YAML of what determines the artifact, a line a setting; unset ones are left out."""
    model = {key: value for key, value in made.model.items() if key != "content"}
    given = {**made.config, "seed": made.config.get("seed") or made.seed, **({"model": model} if model else {})}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in given.items() if value is not None)


def _markdown(one: TableView) -> str:
    rows = [[escaped(f"{cell.text} {cell.interval}".strip()) for cell in row] for row in one.rows[:MAX_ROWS]]
    more = f"\n{len(one.rows) - MAX_ROWS} more rows are in the run's report.\n" if len(one.rows) > MAX_ROWS else ""
    note = f"\n{escaped(one.note)}\n" if one.note else ""
    return f"### {escaped(one.title)}\n\n{_rows([escaped(column.head) for column in one.columns], rows)}{more}{note}"


def _rows(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def escaped(text: str) -> str:
    """`text` on one line, with what Markdown or HTML would read as more than text set off by a backslash."""
    return SYNTAX.sub(r"\\\1", " ".join(text.split()))
