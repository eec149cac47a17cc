"""The records' JSON Schemas (`schemas.json`), held against a row. Fields that they do not name are allowed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

from pipeline.errors import DataError


def check(row: Any, schema: str, where: str) -> None:
    """DataError, with the field in its place, where `row` is not of the schema (pref.task/1, pref.ranking/1, ...)."""
    error = next(_validator(schema).iter_errors(row), None)
    if error is not None:
        field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise DataError(
            f"{field.lstrip('.') or 'the record'}: {error.message[:200]}",
            where=where,
            remedy=f"it must be a {schema}, as in stages/annotation/schemas.json",
        )


def check_version(row: Mapping[str, Any], schema: str, where: str) -> None:
    """DataError for a record of another kind, or of a newer version than this program knows."""
    found = row.get("schema")
    if found != schema:
        kind = schema.rpartition("/")[0]
        newer = isinstance(found, str) and found.startswith(f"{kind}/")
        raise DataError(
            f"is {str(found)[:60]!r}; {schema} is read",
            where=where,
            remedy="update posttune: the file was made by a newer one" if newer else "this is another kind of file",
        )


@cache
def _validator(schema: str) -> Any:
    from jsonschema import Draft202012Validator

    text = resources.files("stages.annotation").joinpath("schemas.json").read_text("utf-8")
    whole = json.loads(text)
    return Draft202012Validator({"$ref": f"#/$defs/{schema.replace('/', '~1')}", "$defs": whole["$defs"]})
