"""The system turn that rows have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.contract import DataSource, Source
from stages.formats.opening import common_system

USER = {"role": "user", "content": "why?"}
BRIEF, KIND = ({"role": "system", "content": text} for text in ("be brief", "be kind"))


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([[BRIEF, USER], [BRIEF, USER]], "be brief"),
        ([[BRIEF, USER], [KIND, USER]], None),
        ([[BRIEF, USER], [USER]], None),
        ([[USER]], None),
    ],
)
def test_only_what_all_rows_have_is_common(prompts: list[Any], expected: str | None, tmp_path: Path) -> None:
    assert common_system([source(tmp_path / "one.jsonl", prompts)]) == expected


def test_two_sources_must_agree_and_one_that_cannot_be_read_is_no_agreement(tmp_path: Path) -> None:
    brief, kind = (source(tmp_path / f"{turn['content']}.jsonl", [[turn, USER]]) for turn in (BRIEF, KIND))
    gone = Source("gone", DataSource(path=str(tmp_path / "gone.jsonl")))
    assert common_system([brief, brief]) == "be brief"
    assert common_system([brief, kind]) is common_system([brief, gone]) is common_system([]) is None


def source(file: Path, prompts: list[Any]) -> Source:
    file.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts), "utf-8")
    return Source(file.stem, DataSource(path=str(file), split="all"))
