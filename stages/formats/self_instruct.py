"""Self-Instruct's tasks: {"instruction", "instances": [{"input", "output"}, ...]}. Every instance is one record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import alpaca, rules
from stages.formats.records import Instruction, part_of

NAME, KINDS = "self_instruct", ("instruction",)
KEYS = "instruction; instances of input and output"


def matches(row: Mapping[str, Any]) -> bool:
    """An instruction with instances of it."""
    return "instruction" in row and "instances" in row


def convert(row: Mapping[str, Any]) -> tuple[Instruction, ...]:
    """The instances in their order, each laid out as Alpaca's rows are."""
    asked = rules.filled(rules.need(row, "instruction"), "instruction")
    given = rules.listed(rules.need(row, "instances"), "instances")
    if not given:
        raise DataError("is an empty list; one instance is needed", where="instances", remedy="leave the task out")
    records = []
    for index, instance in enumerate(given):
        place = f"instances[{index}]"
        if not isinstance(instance, Mapping):
            raise DataError(f"is {rules.describe(instance)}; an object is allowed", where=place, remedy="mend the row")
        content = alpaca.joined(asked, rules.text(instance.get("input") or "", f"{place}.input"))
        answer = rules.filled(rules.need(instance, "output", place), f"{place}.output")
        talk = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        records.append(rules.instruction(part_of(row, index, len(given)), talk))
    return tuple(records)
