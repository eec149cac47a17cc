"""ShareGPT: {"conversations": [{"from": "human", "value": ...}, {"from": "gpt", ...}], "system"?, "tools"?}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules, turns
from stages.formats.messages import is_labelled
from stages.formats.records import Instruction

NAME, KINDS = "sharegpt", ("instruction",)
KEYS = "conversations of from and value; system?, tools?"


def matches(row: Mapping[str, Any]) -> bool:
    """Conversations with neither two answers to compare nor a label."""
    return "conversations" in row and "chosen" not in row and not is_labelled(row)


def convert(row: Mapping[str, Any]) -> Instruction:
    """The conversation, after the system text of its own column where there is one."""
    messages = turns.read_messages(rules.need(row, "conversations"), "conversations")
    if row.get("system"):
        messages = [{"role": "system", "content": rules.text(row["system"], "system")}, *messages]
    return rules.instruction(row, messages, turns.read_tools(row.get("tools")))
