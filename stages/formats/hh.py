"""Anthropic's HH pairs: {"chosen", "rejected"}, two transcripts "\\n\\nHuman: ...\\n\\nAssistant: ..."."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns
from stages.formats.records import Comparison, Message

NAME, KINDS = "hh", ("comparison",)
KEYS = 'chosen, rejected, both beginning "\\n\\nHuman:"'


def matches(row: Mapping[str, Any]) -> bool:
    """Two transcripts and no prompt of their own."""
    given = (row.get("chosen"), row.get("rejected"))
    return "prompt" not in row and all(isinstance(v, str) and v.startswith(turns.TRANSCRIPT) for v in given)


def convert(row: Mapping[str, Any]) -> Comparison:
    """The turns before the last answer are the prompt; the two last answers, with rank 1 and 2, the completions."""
    prompt, better = _divided(rules.need(row, "chosen"), "chosen")
    other, worse = _divided(rules.need(row, "rejected"), "rejected")
    if prompt != other:
        raise DataError(
            "the turns before the last answer differ from those of rejected; they must be equal",
            where="chosen",
            remedy="compare answers to one prompt, or remove the row",
        )
    return rules.pair(row, prompt, better, worse)


def _divided(transcript: Any, field: str) -> tuple[list[Message], str]:
    *prompt, last = turns.read_transcript(transcript, field)
    if last["role"] != "assistant":
        raise DataError(
            "ends with the human's turn; the assistant's is needed", where=field, remedy="end it with the answer"
        )
    return prompt, rules.filled(last["content"], field)
