"""Field by field: how much of a JSON reference an answer gives.

An object's fields are looked at one by one, by their dotted path (`slots.artist`). Every other value is one field: a
text, a number, an empty object, or a list, whose items may stand in any order, since what was found in a text has
none. A value counts where it equals the reference's as JSON: 1 is 1.0, but neither true nor "1", and case counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stages.evaluate.checks.json_schema import parse


def check_fields(text: str, reference: Any) -> dict[str, float]:
    """`field_accuracy`: the share of the reference's fields given exactly, `field/<path>` for each of them.

    `field_f1` minds what was added too: 2 right / (fields wanted + fields given), the slot F1 of one question.
    Empty where the reference is no JSON object with a field in it.
    """
    wanted = as_object(reference)
    if not wanted:
        return {}
    leaves = dict(_leaves(wanted))
    try:
        given = dict(_leaves(as_object(text) or {}))
        right = {path: float(path in given and same(given[path], value)) for path, value in leaves.items()}
    except RecursionError:  # JSON nested some hundred levels deep can be read, and no more
        given, right = {}, dict.fromkeys(leaves, 0.0)
    num_right = sum(right.values())
    return {
        "field_accuracy": num_right / len(leaves),
        "field_f1": 2 * num_right / (len(leaves) + len(given)),
        **{f"field/{path}": value for path, value in right.items()},
    }


def as_object(value: Any) -> Mapping[str, Any] | None:
    """A JSON object, also one written as text; None for anything else."""
    held = parse(value) if isinstance(value, str) else value
    return held if isinstance(held, Mapping) else None


def same(a: Any, b: Any) -> bool:
    """Equal as JSON, lists in any order."""
    return _plain(a) == _plain(b)


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, held in value.items():
        if isinstance(held, Mapping) and held:
            yield from _leaves(held, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", held


def _plain(value: Any) -> str:
    """One text for all spellings of a value."""
    if isinstance(value, Mapping):
        return "{" + ",".join(sorted(f"{json.dumps(name)}:{_plain(held)}" for name, held in value.items())) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(sorted(map(_plain, value))) + "]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value)
