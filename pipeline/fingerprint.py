"""What determines an artifact, as one plain mapping and its SHA-256; and how two of them differ, in words."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.content import ContentCache, data_digest, model_digest, row_digests
from pipeline.contract import StageConfig, Unhashed
from pipeline.graph import Stage, input_fields
from pipeline.recipe import LaunchConfig, Recipe

MISSING = object()
MAX_REASONS = 5  # why a stage runs is one line of a table
MAX_SHOWN = 60  # characters of a value; of a longer one it is only said that it changed


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
    """What changed from `old` to `new`, one short phrase each; of many the first ones, and how many more there are."""
    fields = {*old["data"], *new["data"]}
    renamed = sorted(field for field in fields if _names(old, field) != _names(new, field))
    reasons = [f"{field} {_show(_names(old, field))} -> {_show(_names(new, field))}" for field in renamed]
    for path, was, now in _changed(old, new):
        if path[0] == "data" and path[1] in renamed:
            continue
        if path[0] == "data" and path[-1] == "digest":
            reasons.append(_rows_changed(_names(new, path[1])[int(path[2])], recipe, old_rows))
        elif path[0] == "inputs":
            reasons.append(f"{path[1]} changed")
        else:
            reasons.append(_in_words(_label(path, new), was, now))
    reasons = list(dict.fromkeys(reasons))
    more = len(reasons) - MAX_REASONS
    if more <= 1:  # to say that there is one more takes as much room as the one
        return reasons
    return [*reasons[:MAX_REASONS], f"{more} more differences"]


def _changed(old: Any, new: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Path, old and new value of each difference; a section that only one of them has is one difference."""
    if isinstance(old, list) and isinstance(new, list):
        old, new = ({str(place): item for place, item in enumerate(items)} for items in (old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _changed(old.get(key, MISSING), new.get(key, MISSING), (*path, str(key)))
    elif old != new:
        yield path, old, new


def _label(path: Sequence[str], new: Mapping[str, Any]) -> str:
    """What changed, as the recipe calls it."""
    if path[0] == "data":
        _, field, place, *entry = path
        return f"{'.'.join(entry)} of {_names(new, field)[int(place)]}"
    return ".".join(path[1:] if path[0] in {"config", "model"} and path[1:] else path)


def _in_words(label: str, was: Any, now: Any) -> str:
    for one, other, word in ((now, was, "new"), (was, now, "gone")):
        if isinstance(one, Mapping) and (other is MISSING or other is None):
            return f"{label} is {word}"
    before, after = _show(was), _show(now)
    return f"{label} changed" if max(len(before), len(after)) > MAX_SHOWN else f"{label} {before} -> {after}"


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


def _names(parts: Mapping[str, Any], field: str) -> list[str]:
    """The data sources that `field` named."""
    return [str(entry["name"]) for entry in parts["data"].get(field, ())]


def _show(value: Any) -> str:
    if value is MISSING or value is None or value == []:
        return "absent" if value is MISSING else "unset"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
