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
        known = _fields_at(model, key)
        remedy = f"known: {', '.join(known)}" if known else f"write {name}: {{key: value, ...}}"
        return f"'{name}' must hold keys, found {_short(value)}", remedy
    if kind in {"too_short", "string_too_short"}:
        return f"'{name}' is {_short(value)}", _at_least(context["min_length"], is_text=kind == "string_too_short")
    if kind == "string_pattern_mismatch":
        told = _description(model, key)
        return f"'{name}' is {_short(value)}", f"it must be {told or 'text that matches ' + context['pattern']}"
    if kind == "value_error":  # said by a config's own validator, about several keys
        found, _, remedy = error["msg"].removeprefix("Value error, ").partition(" -> ")
        return found, remedy or "change it"
    must = error["msg"].removeprefix("Input should be ")
    return f"'{name}' is {_short(value)}", f"it must be {must}" if must != error["msg"] else must


def _at_least(least: int, *, is_text: bool) -> str:
    if least == 1:
        return "write something" if is_text else "name at least one"
    return f"it must have at least {least} {'characters' if is_text else 'entries'}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _fields_at(model: type[BaseModel], key: Key) -> list[str]:
    """The known keys of the section at `key`."""
    at = _annotation_at(model, key)
    section = next((each for each in (at, *typing.get_args(at)) if _is_section(each)), None)
    if section is None or typing.get_origin(at) is dict:  # of a dict's own keys none is known
        return []
    return [info.alias or name for name, info in section.model_fields.items()]


def _description(model: type[BaseModel], key: Key) -> str | None:
    """What the field at `key` says that it must be."""
    section = _annotation_at(model, key[:-1])
    fields = [each.model_fields for each in (section, *typing.get_args(section)) if _is_section(each)]
    return next((own[str(key[-1])].description for own in fields if key[-1] in own), None)


def _annotation_at(model: type[BaseModel], key: Key) -> Any:
    """The type of the value at `key`: of a section's field, or of what a dict holds; None where neither is known."""
    at: Any = model
    for part in key:
        inner = typing.get_args(at)
        section = next((each for each in (at, *inner) if _is_section(each)), None)
        if typing.get_origin(at) is dict:
            at = inner[1]
        elif section is not None and part in section.model_fields:
            at = section.model_fields[str(part)].annotation
        else:
            return None
    return at


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
