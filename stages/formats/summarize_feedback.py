"""OpenAI's summarize-from-feedback: {"info": {"post", "title", "subreddit"} or {"article"}, "summaries", "choice"}.

`choice` is the better of the two summaries, 0 or 1, and `worker` chose. The prompt is laid out as the paper's was
(Stiennon et al. 2020), with the fields that the row has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.errors import DataError
from stages.formats import rules, votes
from stages.formats.records import Comparison, Message

NAME, KINDS = "summarize_feedback", ("comparison",)
KEYS = "info of post (title?, subreddit?) or article; summaries, two of text; choice, 0 or 1 for the better; worker?"
LABELS = {"subreddit": "SUBREDDIT: r/", "title": "TITLE: ", "post": "POST: ", "article": "Article: "}


def matches(row: Mapping[str, Any]) -> bool:
    """What was summarized, and summaries of it."""
    return "info" in row and "summaries" in row


def convert(row: Mapping[str, Any]) -> Comparison:
    """The two summaries in the order of the row."""
    given = rules.listed(rules.need(row, "summaries"), "summaries")
    if len(given) != 2:
        raise DataError(f"{len(given)} summaries; two are compared", where="summaries", remedy="mend the row")
    answers = [_summary(value, f"summaries[{index}]") for index, value in enumerate(given)]
    ranks = votes.verdict(rules.need(row, "choice"), {"0": votes.FIRST, "1": votes.SECOND}, "choice")
    known = {"id": row.get("id"), "annotator": row.get("worker"), "source": row.get("source")}
    return votes.vote(known, _prompt(rules.need(row, "info")), answers, ranks)


def _summary(value: Any, field: str) -> str:
    if not isinstance(value, Mapping):
        raise DataError(
            f"is {rules.describe(value)}; an object with text is allowed", where=field, remedy='write {"text": "..."}'
        )
    return rules.filled(rules.need(value, "text", field), f"{field}.text")


def _prompt(info: Any) -> list[Message]:
    if not isinstance(info, Mapping):
        raise DataError(f"is {rules.describe(info)}; an object is allowed", where="info", remedy="mend the row")
    if not info.get("post") and not info.get("article"):
        raise DataError("has neither post nor article", where="info", remedy="add the text that was summarized")
    held = {name: info[name] for name in LABELS if info.get(name)}
    parts = [f"{LABELS[name]}{rules.filled(value, f'info.{name}')}" for name, value in held.items()]
    return [{"role": "user", "content": "\n\n".join([*parts, "TL;DR:"])}]
