"""Alpaca: {"instruction", "input"?, "output", "system"?, "history"?: [[question, answer], ...]}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules
from stages.formats.records import Instruction, Message

NAME, KINDS = "alpaca", ("instruction",)
KEYS = "instruction, output; input?, system?, history?"


def matches(row: Mapping[str, Any]) -> bool:
    """Rows with an instruction and an output."""
    return "instruction" in row and "output" in row


def convert(row: Mapping[str, Any]) -> Instruction:
    """The input follows the instruction after an empty line, in one user turn."""
    messages = _before(row)
    messages.append({"role": "user", "content": asked(row)})
    messages.append({"role": "assistant", "content": rules.filled(rules.need(row, "output"), "output")})
    return rules.instruction(row, messages)


def asked(row: Mapping[str, Any]) -> str:
    """The user's turn of a row with an instruction and perhaps an input."""
    instruction = rules.filled(rules.need(row, "instruction"), "instruction")
    return joined(instruction, rules.text(row.get("input") or "", "input"))


def joined(instruction: str, given: str) -> str:
    """The instruction, and what it was given after an empty line."""
    return f"{instruction}\n\n{given}" if given.strip() else instruction


def _before(row: Mapping[str, Any]) -> list[Message]:
    messages: list[Message] = []
    if row.get("system"):
        messages.append({"role": "system", "content": rules.text(row["system"], "system")})
    for index, pair in enumerate(rules.listed(row.get("history") or [], "history")):
        place = f"history[{index}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise DataError("is no pair of question and answer", where=place, remedy='write ["question", "answer"]')
        messages.append({"role": "user", "content": rules.filled(pair[0], f"{place}[0]")})
        messages.append({"role": "assistant", "content": rules.filled(pair[1], f"{place}[1]")})
    return messages
