"""Prompts to answer: {"prompt": text or messages, "reference"?, "documents"?}, or {"messages"} ending with the user.

IFEval's rows name rules instead of a reference: {"prompt", "instruction_id_list", "kwargs"}.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import oasst, rules, solutions, turns
from stages.formats.messages import ends_with_user, is_labelled
from stages.formats.records import Prompt

NAME, KINDS = "prompts", ("prompt",)
KEYS = "prompt, or messages ending with the user; reference? (or instruction_id_list, kwargs?), documents?"
RULES, ARGUMENTS = "instruction_id_list", "kwargs"
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
    reference = row.get("reference")
    if reference is None and row.get(RULES) is not None:
        reference = _instructions(row)
    return rules.prompt(row, messages, reference)


def _instructions(row: Mapping[str, Any]) -> dict[str, Any]:
    """IFEval's rules and the arguments of each; without any, each rule has none."""
    names = [rules.filled(name, f"{RULES}[{i}]") for i, name in enumerate(rules.listed(row[RULES], RULES))]
    given = row.get(ARGUMENTS)
    arguments = [{} for _ in names] if given is None else rules.listed(given, ARGUMENTS)
    if len(arguments) != len(names):
        raise DataError(
            f"{len(arguments)} for {len(names)} instructions; one for each is needed",
            where=ARGUMENTS,
            remedy="mend the row: an instruction without arguments has {}",
        )
    for i, held in enumerate(arguments):
        if not isinstance(held, Mapping):
            raise DataError(
                f"is {rules.describe(held)}; an object is allowed",
                where=f"{ARGUMENTS}[{i}]",
                remedy="make it an object",
            )
    return {RULES: names, ARGUMENTS: arguments}
