"""Prompt and completion: {"prompt", "completion"}, each as text or as messages. The text is kept as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules, turns
from stages.formats.messages import is_labelled
from stages.formats.records import Instruction

NAME, KINDS = "prompt_completion", ("instruction",)
KEYS = "prompt, completion"


def matches(row: Mapping[str, Any]) -> bool:
    """Both columns and no label."""
    return "prompt" in row and "completion" in row and not is_labelled(row)


def convert(row: Mapping[str, Any]) -> Instruction:
    """The prompt's turns and the completion as the last one."""
    messages = turns.read_prompt(rules.need(row, "prompt"))
    given = rules.need(row, "completion")
    if isinstance(given, list):
        answer = turns.read_messages(given, "completion")
    else:
        answer = [{"role": "assistant", "content": turns.read_completion(given, "completion")}]
    return rules.instruction(row, [*messages, *answer], turns.read_tools(row.get("tools")))
