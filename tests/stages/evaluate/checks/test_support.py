"""The share of an answer's words that the documents hold, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contract import TaskConfig
from stages.evaluate.checks.task import check_answer

TASK = TaskConfig(checks=("supported",))
DOCUMENTS = [
    "The Summer Theatre stood in the Saxon Garden from 1870.",
    {"title": "Warsaw", "text": "It had 1,200 seats."},
]


def supported(answer: str, documents: Any = DOCUMENTS) -> dict[str, float]:
    return check_answer(answer, None, TASK, documents)


@pytest.mark.parametrize(
    ("answer", "share"),
    [
        ("It was in the Saxon Garden.", 1),
        ("the saxon GARDEN, from 1870", 1),
        ("In Warsaw, with 1,200 seats", 1),
        ("with 1,300 seats", 1 / 2),
        ("The Winter Theatre stood in the Royal Garden.", 3 / 5),
        ("Paris", 0),
        ("", 0),
        ("It was there.", 0),
    ],
)
def test_share_of_content_words_is_counted(answer: str, share: float) -> None:
    assert supported(answer) == {"supported": pytest.approx(share)}


def test_it_does_not_see_a_meaning() -> None:
    assert supported("The Summer Theatre was not in the Saxon Garden.") == {"supported": 1}


@pytest.mark.parametrize("documents", [None, (), [], "", [""], [{}], 3])
def test_prompt_without_documents_gives_no_figure(documents: Any) -> None:
    assert supported("The Saxon Garden", documents) == {}
