"""What a program can say about one answer: is it valid JSON of the right shape, are its labels right."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from jsonschema_specifications import REGISTRY as SPECIFICATIONS
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from pipeline.contract import TaskConfig
from pipeline.errors import RecipeError

INVALID = object()
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def check_answer(text: str, reference: Any, task: TaskConfig) -> dict[str, float]:
    """What the task's checks give, 0 to 1: `valid_json`, `label_accuracy` (of each field and all), `number_right`.

    A field's label is right when it equals the reference's; an answer that does not parse has none right. A number is
    the last one in the text, thousands' commas apart: where GSM8K and most worked answers have their result.
    """
    results: dict[str, float] = {}
    answer = parse(text)
    if task.json_schema is not None:
        results["valid_json"] = float(answer is not INVALID and not any(_validator(task).iter_errors(answer)))
    wanted = parse(reference) if isinstance(reference, str) else reference
    fields = [name for name in task.labels if isinstance(wanted, Mapping) and name in wanted]
    for name in fields:
        given = answer.get(name) if isinstance(answer, Mapping) else None
        results[f"label_accuracy/{name}"] = float(given == wanted[name])
    if fields:
        results["label_accuracy"] = sum(results[f"label_accuracy/{name}"] for name in fields) / len(fields)
    if "number" in task.checks and (right := last_number(str(reference))) is not None:
        results["number_right"] = float(last_number(text) == right)
    return results


def last_number(text: str) -> float | None:
    """The last number of a text; None where there is none."""
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None


def parse(text: str) -> Any:
    """The JSON value of the whole text, or INVALID. NaN and Infinity, which Python would read, are not JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return INVALID


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def check_task(name: str, task: TaskConfig) -> None:
    """RecipeError if the task's schema is no JSON Schema."""
    if task.json_schema is None:
        return
    try:
        Draft202012Validator.check_schema(task.json_schema)
    except SchemaError as error:
        place = ".".join(str(part) for part in ("tasks", name, "json_schema", *error.path))
        raise RecipeError(
            f"not a JSON Schema: {error.message}", where=place, remedy="see json-schema.org, draft 2020-12"
        ) from None
    root = str(task.json_schema.get("$id", ""))
    known = SPECIFICATIONS.with_resource(root, DRAFT202012.create_resource(task.json_schema)).crawl().resolver(root)
    for reference in _references(task.json_schema):
        try:
            known.lookup(reference)
        except Unresolvable:
            raise RecipeError(
                f"the reference '{reference[:100]}' leads nowhere in this schema, and nothing is fetched",
                where=f"tasks.{name}.json_schema",
                remedy="write what it stands for under $defs, and refer to it as #/$defs/...",
            ) from None


def _references(schema: Any) -> Iterator[str]:
    """Each `$ref` and `$dynamicRef` in it, wherever it stands."""
    for key, value in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if key in ("$ref", "$dynamicRef") and isinstance(value, str):
            yield value
        elif isinstance(value, (dict, list)):
            yield from _references(value)


def _validator(task: TaskConfig) -> Draft202012Validator:
    # With a registry of its own jsonschema does not fetch what a schema refers to, from the network or the disk.
    return Draft202012Validator(task.json_schema, registry=SPECIFICATIONS)
