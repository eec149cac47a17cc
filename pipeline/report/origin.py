"""What a stage was made from, read from its inputs.json: artifacts, data, settings and base, each with its digest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.report.text import is_number, items, mapping


@dataclass(frozen=True)
class Ingredient:
    """An artifact or a data source that a stage read."""

    field: str  # of the stage's config; empty where it is not known
    name: str
    digest: str = ""
    num_rows: int | None = None  # of a data source, before any split or limit


@dataclass(frozen=True)
class MadeFrom:
    """All that determines an artifact, as far as its inputs.json tells."""

    inputs: tuple[Ingredient, ...] = ()
    data: tuple[Ingredient, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)  # the settings that can change the result
    model: Mapping[str, Any] = field(default_factory=dict)  # dtype, LoRA and the base's digest
    seed: int | None = None


NOTHING_KNOWN = MadeFrom()


def made_from(inputs: Mapping[str, Any], digests: Mapping[str, Any]) -> MadeFrom:
    """Read inputs.json; `digests` are the manifest's, by artifact, and count for more."""
    digests = {**mapping(inputs.get("inputs")), **digests}
    by_digest = {str(digest): str(name) for name, digest in digests.items()}
    material, rows = mapping(inputs.get("material")), mapping(inputs.get("rows"))
    artifacts = [
        Ingredient(str(name), by_digest.get(str(given), str(given)), str(given) if str(given) in by_digest else "")
        for name, all_given in mapping(material.get("inputs")).items()
        for given in items(all_given)
    ]
    sources = [
        Ingredient(str(name), str(source.get("name", "")), str(source.get("digest") or ""), _count(rows, source))
        for name, given in mapping(material.get("data")).items()
        for source in map(mapping, items(given))
    ]
    seed = material.get("seed")
    return MadeFrom(
        tuple(artifacts or [Ingredient("", str(name), str(digest)) for name, digest in digests.items()]),
        tuple(sources),
        mapping(material.get("config")),
        mapping(material.get("model")),
        int(seed) if is_number(seed) else None,
    )


def _count(rows: Mapping[str, Any], source: Mapping[str, Any]) -> int | None:
    found = rows.get(str(source.get("name", "")))
    return len(found) if isinstance(found, list) else None
