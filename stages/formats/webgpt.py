"""WebGPT's comparisons: {"question", "answer_0", "answer_1", "score_0", "score_1"}; the higher score is better.

The scores are from -1 to 1 and sum to 0; 0 and 0 are a tie. `question` is text or {"full_text"}. The quotes differ
between the two answers, so they are no part of the prompt, and the answers' [1] refer to nothing in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stages.formats import rules, votes
from stages.formats.records import Comparison

NAME, KINDS = "webgpt", ("comparison",)
KEYS = "question, answer_0, answer_1, score_0, score_1 (higher is better)"


def matches(row: Mapping[str, Any]) -> bool:
    """Two answers to a question, with a score each."""
    return all(key in row for key in ("question", "answer_0", "answer_1", "score_0", "score_1"))


def convert(row: Mapping[str, Any]) -> Comparison:
    """The answers in the order of the row."""
    asked, field = rules.need(row, "question"), "question"
    if isinstance(asked, Mapping):
        asked, field = rules.need(asked, "full_text", "question"), "question.full_text"
    prompt = [{"role": "user", "content": rules.filled(asked, field)}]
    answers = [rules.filled(rules.need(row, key), key) for key in ("answer_0", "answer_1")]
    scores = [rules.number(rules.need(row, key), key) for key in ("score_0", "score_1")]
    return votes.vote(row, prompt, answers, rules.dense([-score for score in scores]))
