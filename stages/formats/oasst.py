"""OpenAssistant's trees: {"message_tree_id", "prompt": {"role", "text", "replies": [{"text", "rank", ...}, ...]}}.

Every user turn with two or more ranked replies is one comparison, so a tree gives several records. Rank 0 is best.
Replies marked as deleted are no part of the tree; a reply without a rank stays, not ranked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules
from stages.formats.records import Comparison, Message, Ranking

NAME, KINDS = "oasst", ("comparison",)
KEYS = "prompt, a tree of role, text, rank (0 is best) and replies; message_tree_id?"
ROLES = {"prompter": "user", "assistant": "assistant"}
MAX_TURNS = 200  # of one branch: the trees that people grew have at most about 20


def matches(row: Mapping[str, Any]) -> bool:
    """A prompt that has replies."""
    return isinstance(row.get("prompt"), Mapping) and "replies" in row["prompt"]


def convert(row: Mapping[str, Any]) -> tuple[Comparison, ...]:
    """The comparisons of a tree, each node before those below it."""
    root = rules.need(row, "prompt")
    found = tuple(_comparisons(row, root, [], "prompt"))
    if not found:
        raise DataError(
            "no turn of the tree has two ranked replies",
            where="prompt",
            remedy="leave the tree out: it holds no comparison",
        )
    return found


def _comparisons(row: Mapping[str, Any], node: Any, before: list[Message], field: str) -> Iterator[Comparison]:
    turn = _turn(node, field)
    turns = [*before, turn]
    if len(turns) > MAX_TURNS:
        raise DataError(f"a branch of more than {MAX_TURNS} turns", where="prompt", remedy="leave the tree out")
    replies = _replies(node, field)
    if turn["role"] == "user" and sum(reply.get("rank") is not None for reply, _ in replies) >= 2:
        yield _comparison(row, node, turns, replies)
    for reply, place in replies:
        yield from _comparisons(row, reply, turns, place)


def _turn(node: Any, field: str) -> Message:
    if not isinstance(node, Mapping):
        raise DataError(
            f"is {rules.describe(node)}; an object with role and text is allowed", where=field, remedy="mend the tree"
        )
    role = rules.need(node, "role", field)
    if not isinstance(role, str) or role not in ROLES:
        raise DataError(
            f"unknown role {role!r}; allowed: {', '.join(ROLES)}", where=f"{field}.role", remedy="mend the tree"
        )
    return {"role": ROLES[role], "content": rules.filled(rules.need(node, "text", field), f"{field}.text")}


def _replies(node: Mapping[str, Any], field: str) -> list[tuple[Mapping[str, Any], str]]:
    """The replies with their places, without those that were deleted."""
    given = rules.listed(node.get("replies") or [], f"{field}.replies")
    placed = [(reply, f"{field}.replies[{index}]") for index, reply in enumerate(given)]
    for reply, place in placed:
        _turn(reply, place)
    return [(reply, place) for reply, place in placed if reply.get("deleted") is not True]


def _comparison(
    row: Mapping[str, Any],
    node: Mapping[str, Any],
    turns: list[Message],
    replies: list[tuple[Mapping[str, Any], str]],
) -> Comparison:
    answers = [reply["text"] for reply, _ in replies]
    ranks = [
        None if reply.get("rank") is None else rules.number(reply["rank"], f"{place}.rank") for reply, place in replies
    ]
    known = {"id": node.get("message_id"), "source": row.get("source")}
    return rules.comparison(known, turns, answers, [Ranking(rules.UNNAMED, rules.dense(ranks))])
