"""Chatbot Arena's votes: {"model_a", "model_b", "conversation_a", "conversation_b", "winner", "judge"?}.

A vote is on whole conversations. One of several turns has no common prompt, for each model answered its own earlier
turns; such a row is refused, and `on_bad_row: skip` leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, turns, votes
from stages.formats.records import Comparison, Message

NAME, KINDS = "arena", ("comparison",)
KEYS = "conversation_a, conversation_b; winner, one of model_a, model_b, tie, tie (bothbad); judge?"
WINNERS = {"model_a": votes.FIRST, "model_b": votes.SECOND, "tie": votes.TIE, "tie (bothbad)": votes.TIE}


def matches(row: Mapping[str, Any]) -> bool:
    """Two conversations, whether or not the row says who won."""
    return "conversation_a" in row and "conversation_b" in row


def convert(row: Mapping[str, Any]) -> Comparison:
    """The answers in the order a, b."""
    ranks = votes.verdict(rules.need(row, "winner"), WINNERS, "winner")
    prompt, first = _divided(rules.need(row, "conversation_a"), "conversation_a")
    other, second = _divided(rules.need(row, "conversation_b"), "conversation_b")
    if prompt != other:
        raise DataError(
            "the turns before the last answer differ from those of conversation_b; one prompt is needed",
            where="conversation_a",
            remedy="keep votes on the first answer only, or set `on_bad_row: skip`",
        )
    known = {"annotator": row.get("judge") or row.get("judge_hash"), "source": row.get("source")}
    known["id"] = row.get("question_id") or row.get("id")
    return votes.vote(known, prompt, [first, second], ranks)


def _divided(value: Any, field: str) -> tuple[list[Message], str]:
    *prompt, last = turns.read_messages(value, field)
    if last["role"] != "assistant":
        raise DataError(
            f"ends with the {last['role']}'s turn; the assistant's is needed",
            where=field,
            remedy="end it with the answer",
        )
    return prompt, turns.answer_text(last, field)
