"""What determines an artifact, as one plain mapping and its SHA-256; and how two of them differ, in words."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.content import ContentCache, data_digest, model_digest, row_digests
from pipeline.contract import StageConfig, Unhashed
from pipeline.graph import Stage, input_fields
from pipeline.recipe import LaunchConfig, Recipe

MISSING = object()


def material(recipe: Recipe, stage: Stage, digests: Mapping[str, str], cache: ContentCache) -> dict[str, Any]:
    """Everything the stage's result depends on.

    `digests` maps each finished stage to its artifact's digest. Out of it stay save_*, logging_*,
    tracking and the places of files.
    """
    launch = recipe.launch if type(stage.config).distributed else LaunchConfig()
    return {
        "kind": stage.kind,
        "revision": type(stage.config).revision,
        "config": _hashed_config(stage.config),
        "seed": recipe.seed,
        "world_size": launch.num_processes,
        "model": {
            **recipe.model.model_dump(mode="json", exclude={"model_name_or_path", "revision"}),
            "content": model_digest(recipe.model, cache),
        },
        "inputs": {
            field: [digests.get(name, name) for name in names] for field, names in sorted(stage.inputs.items()) if names
        },
        "data": {
            field: [_source(recipe, name, cache) for name in names] for field, names in sorted(stage.data.items())
        },
    }


def fingerprint(parts: Mapping[str, Any]) -> str:
    """SHA-256 of the material, as hex."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def record_rows(recipe: Recipe, stage: Stage) -> dict[str, list[str] | None]:
    """Each data source's row digests, kept beside the material so that a later plan can count changed rows."""
    return {name: row_digests(recipe.data[name]) for names in stage.data.values() for name in names}


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], recipe: Recipe, old_rows: Mapping[str, list[str] | None]
) -> list[str]:
    """What changed from `old` to `new`, one short phrase each."""
    reasons = []
    fields = {*old["data"], *new["data"]}
    renamed = sorted(field for field in fields if _names(old, field) != _names(new, field))
    reasons += [f"{field} {_show(_names(old, field))} -> {_show(_names(new, field))}" for field in renamed]
    before, after = _flat(old), _flat(new)
    for key in sorted({*before, *after}):
        if key.startswith(tuple(f"data.{field}." for field in renamed)):
            continue
        was, now = before.get(key, MISSING), after.get(key, MISSING)
        if was == now:
            continue
        part, _, rest = key.partition(".")
        if part == "data" and rest.endswith(".digest"):
            name = after.get(key.removesuffix("digest") + "name", rest)
            reasons.append(_rows_changed(str(name), recipe, old_rows))
        elif part == "inputs":
            reasons.append(f"{rest.rsplit('.', 1)[0]} changed")
        else:
            label = rest if part in {"config", "model"} and rest else key
            if part == "data":
                field, index, entry = rest.split(".", 2)
                label = f"{entry} of {_names(new, field)[int(index)]}"
            reasons.append(f"{label} {_show(was)} -> {_show(now)}")
    return list(dict.fromkeys(reasons))


def _hashed_config(config: StageConfig) -> dict[str, Any]:
    """The config without its input names (they enter by content) and without what cannot change the result."""
    skip = {name for name, _ in input_fields(type(config))}
    skip |= {
        name
        for name, info in type(config).model_fields.items()
        if any(isinstance(mark, Unhashed) for mark in info.metadata)
    }
    return config.model_dump(mode="json", exclude=skip)


def _source(recipe: Recipe, name: str, cache: ContentCache) -> dict[str, Any]:
    source = recipe.data[name]
    return {
        "name": name,
        "digest": data_digest(source, cache),
        **source.model_dump(mode="json", exclude={"path", "from_stage", "revision", "task"}),
        "task": recipe.tasks[source.task].model_dump(mode="json") if source.task else None,
        "heldout_fraction": recipe.heldout_fraction,
        "split_salt": recipe.split_salt,
    }


def _rows_changed(name: str, recipe: Recipe, old_rows: Mapping[str, list[str] | None]) -> str:
    was = old_rows.get(name)
    now = row_digests(recipe.data[name]) if name in recipe.data else None
    if was is None or now is None:
        return f"{name} changed"
    gone, come = Counter(was) - Counter(now), Counter(now) - Counter(was)
    return f"rows changed: {max(gone.total(), come.total())} in {name}"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        items = value.items()
    elif isinstance(value, list):
        items = ((str(index), item) for index, item in enumerate(value))  # type: ignore[assignment]
    else:
        return {prefix: value}
    flat: dict[str, Any] = {}
    for key, item in items:
        flat.update(_flat(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat


def _names(parts: Mapping[str, Any], field: str) -> list[str]:
    """The data sources that `field` named."""
    return [str(entry["name"]) for entry in parts["data"].get(field, ())]


def _show(value: Any) -> str:
    if value is MISSING or value is None or value == []:
        return "absent" if value is MISSING else "unset"
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
