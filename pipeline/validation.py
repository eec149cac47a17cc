"""pydantic's findings, said the way this project says errors: place, finding, remedy."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.errors import RecipeError, nearest
from pipeline.yaml_lines import Document, Key


@contextmanager
def explain(document: Document, model: type[BaseModel], prefix: Key = ()) -> Iterator[None]:
    """Turn the first ValidationError raised inside into a RecipeError at its place in `document`."""
    try:
        yield
    except ValidationError as error:
        # A misspelt key is also a missing one; the misspelling is what helps.
        found_all = sorted(error.errors(include_url=False), key=lambda found: found["type"] != "extra_forbidden")
        first = found_all[0]
        key: Key = tuple(part for part in first["loc"] if not _is_union_tag(part))
        found, remedy = _say(first, model, key)
        more = sum(found["type"] == "extra_forbidden" for found in found_all[1:])
        note = f" (and {more} more)" if more else ""
        raise RecipeError(found + note, where=document.where((*prefix, *key)), remedy=remedy) from None


def _is_union_tag(part: str | int) -> bool:
    """pydantic names the tried member of a union in `loc`; a recipe has no such key."""
    return isinstance(part, str) and (part in {"str", "int", "float", "bool"} or "[" in part)


def _say(error: Any, model: type[BaseModel], key: Key) -> tuple[str, str]:
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    name = key[-1] if key else "the recipe"
    if kind == "extra_forbidden":
        return f"unknown key '{name}'", nearest(str(name), _fields_at(model, key[:-1]))
    if kind == "missing":
        return f"the key '{name}' is missing", f"add {name}: ..."
    if kind == "literal_error":
        return f"'{name}' is {value!r}", f"allowed: {context['expected']}"
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"'{name}' must hold keys, found {_short(value)}", f"known: {', '.join(_fields_at(model, key)) or 'any'}"
    if kind == "value_error":  # said by a config's own validator, about several keys
        found, _, remedy = error["msg"].removeprefix("Value error, ").partition(" -> ")
        return found, remedy or "change it"
    must = error["msg"].removeprefix("Input should be ")
    return f"'{name}' is {_short(value)}", f"it must be {must}" if must != error["msg"] else must


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[BaseModel], key: Key) -> list[str]:
    """The known keys of the section at `key`."""
    at: Any = model
    for part in key:
        if isinstance(at, type) and issubclass(at, BaseModel) and part in at.model_fields:
            at = _section(at.model_fields[str(part)].annotation)
    if not (isinstance(at, type) and issubclass(at, BaseModel)):
        return []
    return [info.alias or name for name, info in at.model_fields.items()]


def _section(annotation: Any) -> Any:
    """The pydantic model inside `X | None` or `dict[str, X]`, if there is one."""
    candidates = [annotation, *typing.get_args(annotation)]
    return next((c for c in candidates if isinstance(c, type) and issubclass(c, BaseModel)), None)
