"""Which answers count: one rule for the import, for agreement and for training."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import stages.exchange
from stages.annotation.schema import FLAGS, UNUSABLE, Answer, is_usable, ranked_answer

IDS = ("c_aaaaaaaa", "c_bbbbbbbb", "c_cccccccc")


@pytest.mark.parametrize("said, ranks, flags, status, usable", [
    ("ranked", (1, 2, 3), (), "ranked", True),
    ("ranked", (1, None, 2), (), "partial", True),
    ("ranked", (1, None, None), (), "partial", False),
    ("ranked", (1, 2, 3), ("unsafe",), "ranked", True),
    ("ranked", (1, 2, 3), ("cannot_judge",), "flagged", False),
    ("ranked", (1, 2, 3), ("all_bad", "unsafe"), "flagged", False),
    ("ranked", (None,) * 3, ("unsafe",), "flagged", False),
    ("ranked", (None,) * 3, (), "skipped", False),
    ("skipped", (None,) * 3, ("all_bad",), "skipped", False),
])  # fmt: skip
def test_status_and_use_follow_from_ranks_and_flags(said, ranks, flags, status, usable):
    answer = ranked_answer(
        Answer("b_aaaaaaaa", "t_aaaaaaaa", "ann", said, flags=flags), dict(zip(IDS, ranks, strict=True)), IDS
    )
    assert (answer.status, is_usable(answer)) == (status, usable)


def test_flags_of_the_page_are_those_of_the_records():
    script = (Path(stages.exchange.__file__).parent / "html_page" / "answers.js").read_text("utf-8")
    flags = re.search(r"const FLAGS = \{(.*?)\};", script, re.DOTALL)[1]
    assert dict(re.findall(r'(\w+): "([^"]+)"', flags)) == dict(FLAGS)
    assert json.loads(re.search(r"const CLOSING = (\[.*?\]);", script)[1]) == list(UNUSABLE)
