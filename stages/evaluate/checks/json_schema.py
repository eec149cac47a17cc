"""Whether an answer is valid JSON of the right shape, and whether a task's schema is one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from pipeline.errors import RecipeError

INVALID = object()


def parse(text: str) -> Any:
    """The JSON value of the whole text, or INVALID. NaN and Infinity, which Python would read, are not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def is_valid(answer: Any, schema: dict[str, Any]) -> bool:
    """Whether what `parse` gave validates; not what is nested too deep to be looked through."""
    if answer is INVALID:
        return False
    try:  # with a registry of its own jsonschema does not fetch what a schema refers to, from the network or the disk
        return bool(Draft202012Validator(schema, registry=SPECIFICATIONS).is_valid(answer))
    except RecursionError:  # a schema that refers to itself is followed some hundred levels deep, and no more
        return False


def check_schema(schema: dict[str, Any], place: str) -> None:
    """RecipeError if it is no JSON Schema, or refers to what it does not hold."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        where = ".".join(str(part) for part in (place, *error.path))
        raise RecipeError(
            f"not a JSON Schema: {error.message}", where=where, remedy="see json-schema.org, draft 2020-12"
        ) from None
    root = str(schema.get("$id", ""))
    known = SPECIFICATIONS.with_resource(root, DRAFT202012.create_resource(schema)).crawl().resolver(root)
    for reference in _references(schema):
        try:
            known.lookup(reference)
        except Unresolvable:
            raise RecipeError(
                f"the reference '{reference[:100]}' leads nowhere in this schema, and nothing is fetched",
                where=place,
                remedy="write what it stands for under $defs, and refer to it as #/$defs/...",
            ) from None


def _references(schema: Any) -> Iterator[str]:
    """Each `$ref` and `$dynamicRef` in it, wherever it stands."""
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            yield from _references(value)
