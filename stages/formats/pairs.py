"""Preference pairs, K = 2, the chosen answer with rank 1.

{"prompt", "chosen", "rejected"} as text or messages; {"chosen", "rejected"} (or chosen_messages,
rejected_messages) as whole conversations that differ in the last turn; {"conversations", "chosen", "rejected"}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import hh, rules, turns
from stages.formats.records import Comparison, Message

NAME, KINDS = "pairs", ("comparison",)
KEYS = "chosen, rejected; prompt or conversations unless both are whole conversations"


def matches(row: Mapping[str, Any]) -> bool:
    """A chosen and a rejected answer that are not HH transcripts."""
    whole = "chosen_messages" in row and "rejected_messages" in row
    return whole or ("chosen" in row and "rejected" in row and not hh.matches(row))


def convert(row: Mapping[str, Any]) -> Comparison:
    """The answers in the order chosen, rejected."""
    suffix = "_messages" if "chosen_messages" in row else ""
    chosen, rejected = (rules.need(row, name + suffix) for name in ("chosen", "rejected"))
    if _is_whole(chosen) or _is_whole(rejected):
        prompt, answers = _from_conversations(row, chosen, rejected)
    else:
        field = "conversations" if "conversations" in row else "prompt"
        prompt = turns.read_prompt(rules.need(row, field), field)
        answers = [turns.read_completion(chosen, "chosen"), turns.read_completion(rejected, "rejected")]
    return rules.pair(row, prompt, *answers)


def _is_whole(value: Any) -> bool:
    """Several messages are a conversation; a single one is an answer that needs a prompt."""
    return isinstance(value, list) and len(value) > 1


def _from_conversations(row: Mapping[str, Any], chosen: Any, rejected: Any) -> tuple[list[Message], list[str]]:
    *prompt, better = turns.read_messages(chosen, "chosen")
    *other, worse = turns.read_messages(rejected, "rejected")
    if prompt != other:
        raise DataError(
            "the turns before the last answer differ from those of rejected; they must be equal",
            where="chosen",
            remedy="compare answers to one prompt, or remove the row",
        )
    for message, field in ((better, "chosen"), (worse, "rejected")):
        if message["role"] != "assistant":
            raise DataError(
                f"ends with the {message['role']}'s turn; the assistant's is needed",
                where=field,
                remedy="end it with the answer",
            )
    stated = row.get("prompt")
    if stated is not None and not _agrees(stated, prompt):
        raise DataError(
            "is not in the conversation of chosen", where="prompt", remedy="mend the row, or leave out the column"
        )
    return prompt, [turns.answer_text(better, "chosen"), turns.answer_text(worse, "rejected")]


def _agrees(stated: Any, prompt: list[Message]) -> bool:
    """Text must be one of the user's turns (data sets repeat the first or the last); messages must begin the prompt."""
    said = turns.read_prompt(stated)
    if not isinstance(stated, str) or len(said) > 1:
        return prompt[: len(said)] == said
    return any(m["role"] == "user" and m["content"].strip() == stated.strip() for m in prompt)
