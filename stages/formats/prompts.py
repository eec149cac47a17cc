"""Prompts to answer: {"prompt": text or messages, "reference"?, "documents"?}, or {"messages"} ending with the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules, turns
from stages.formats.messages import ends_with_user, is_labelled
from stages.formats.records import Prompt

NAME, KINDS = "prompts", ("prompt",)
KEYS = "prompt, or messages ending with the user; reference?, documents?"
ANSWERED = ("completion", "completions", "chosen", "rejected", "answers", "conversations", "messages", "output")


def matches(row: Mapping[str, Any]) -> bool:
    """A prompt without any kind of answer, or messages that wait for one."""
    if "messages" in row:
        return "prompt" not in row and not is_labelled(row) and ends_with_user(row["messages"])
    return "prompt" in row and not any(key in row for key in ANSWERED)


def convert(row: Mapping[str, Any]) -> Prompt:
    """The prompt, with its reference as it stands in the row."""
    if "prompt" in row or "messages" not in row:
        messages = turns.read_prompt(rules.need(row, "prompt"))
    else:
        messages = turns.read_messages(row["messages"])
    return rules.prompt(row, messages, row.get("reference"))
