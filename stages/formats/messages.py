"""OpenAI messages: {"messages": [{"role", "content"}, ...], "tools"?}. Content may be text or typed parts.

`references`, where a row has them, are all the answers that are right, the last turn among them whether it is listed
or not; an audit's cleaned copy keeps several so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stages.formats import rules, turns
from stages.formats.records import Instruction

NAME, KINDS = "messages", ("instruction",)
KEYS = "messages, ending with the assistant; tools?, references?"


def matches(row: Mapping[str, Any]) -> bool:
    """Rows with messages, but without a label and not ending with the user's turn."""
    return "messages" in row and not is_labelled(row) and not ends_with_user(row["messages"])


def convert(row: Mapping[str, Any]) -> Instruction:
    """The conversation and its tools."""
    talk, tools = turns.read_messages(rules.need(row, "messages")), turns.read_tools(row.get("tools"))
    made = rules.instruction(row, talk, tools)
    if row.get("references") is None:
        return made
    given = rules.listed(row["references"], "references")
    texts = [rules.filled(text, f"references[{i}]") for i, text in enumerate(given)]
    last = str(talk[-1]["content"])
    unlisted = [last] if last and last not in texts else []
    return replace(made, references=rules.references([*unlisted, *texts]))


def is_labelled(row: Mapping[str, Any]) -> bool:
    """Whether the row has a KTO label."""
    return "desirable" in row or isinstance(row.get("label"), bool)


def ends_with_user(messages: Any) -> bool:
    """Whether these messages wait for an answer."""
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, Mapping) and last.get("role") == "user"
