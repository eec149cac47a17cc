"""OpenAI messages: {"messages": [{"role", "content"}, ...], "tools"?}. Content may be text or typed parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules, turns
from stages.formats.records import Instruction

NAME, KINDS = "messages", ("instruction",)
KEYS = "messages, ending with the assistant; tools?"


def matches(row: Mapping[str, Any]) -> bool:
    """Rows with messages, but without a label and not ending with the user's turn."""
    return "messages" in row and not is_labelled(row) and not ends_with_user(row["messages"])


def convert(row: Mapping[str, Any]) -> Instruction:
    """The conversation and its tools."""
    return rules.instruction(row, turns.read_messages(rules.need(row, "messages")), turns.read_tools(row.get("tools")))


def is_labelled(row: Mapping[str, Any]) -> bool:
    """Whether the row has a KTO label."""
    return "desirable" in row or isinstance(row.get("label"), bool)


def ends_with_user(messages: Any) -> bool:
    """Whether these messages wait for an answer."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, Mapping) and last.get("role") == "user"
