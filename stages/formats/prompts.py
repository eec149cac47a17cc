"""Prompts to answer: {"prompt": text or messages, "reference"?, "documents"?}, or {"messages"} ending with the user."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from stages.formats import oasst, rules, solutions, turns
from stages.formats.messages import ends_with_user, is_labelled
from stages.formats.records import Prompt

NAME, KINDS = "prompts", ("prompt",)
KEYS = "prompt, or messages ending with the user; reference?, documents?"
# Any column that an answer may stand in, also one of several (response_a, answer_1): a prompt has none.
ANSWER = re.compile(
    r"(completion|response|answer|output|summary|conversation)s?([_ ]?([ab]|\d))?|chosen|rejected|messages|summaries"
)


def matches(row: Mapping[str, Any]) -> bool:
    """A prompt without any kind of answer, or messages that wait for one."""
    if "messages" in row:
        return "prompt" not in row and not is_labelled(row) and ends_with_user(row["messages"])
    if "prompt" not in row or oasst.matches(row) or solutions.matches(row):
        return False
    return not any(ANSWER.fullmatch(str(key)) for key in row)


def convert(row: Mapping[str, Any]) -> Prompt:
    """The prompt, with its reference as it stands in the row."""
    if "prompt" in row or "messages" not in row:
        messages = turns.read_prompt(rules.need(row, "prompt"))
    else:
        messages = turns.read_messages(row["messages"])
    return rules.prompt(row, messages, row.get("reference"))
