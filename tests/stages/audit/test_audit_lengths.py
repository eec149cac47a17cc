"""Lengths in tokens: exactly the rows that are too long, and what they would lose."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from audited import chat as row_of
from audited import findings, source

from pipeline.contract import ModelConfig
from stages.audit.audit import audit
from stages.audit.seen import Settings
from stages.modeling.chat import Chat


def lengths(
    folder: Path, model: ModelConfig | None, rows: list[dict[str, object]], limit: int
) -> list[tuple[int, str]]:
    given = [(source(folder / "rows.jsonl", rows), False)]
    audited = audit(given, Settings({"rows": limit}, model=model), folder, skip=["languages"], say=lambda line: None)
    return [(one["row"], one["message"]) for one in findings(audited) if one["check"] == "too_long"]


def test_exactly_the_rows_that_are_too_long_are_found(tmp_path: Path, model: ModelConfig, chat: Chat) -> None:
    chooser = random.Random(3)
    words = ["order", "zyx", "thank", "\u00e9\u00e9"]
    rows = [row_of("Where?", " ".join(chooser.choices(words, k=chooser.randrange(1, 60)))) for _ in range(60)]
    counts = [len(chat.encode(row["messages"]).input_ids) for row in rows]
    told = {row for row, _ in lengths(tmp_path, model, rows, 100)}
    assert told == {number for number, count in enumerate(counts, start=1) if count > 100}
    assert 5 < len(told) < 55


def test_message_says_what_is_left_of_the_answer(tmp_path: Path, model: ModelConfig, chat: Chat) -> None:
    rows = [row_of("Where?", "b" * 40), row_of("a" * 80, "Here.")]
    answer = len(chat.completion_ids(rows[0]["messages"][:1], "b" * 40))
    whole = len(chat.encode(rows[0]["messages"]).input_ids)
    told = dict(lengths(tmp_path, model, rows, whole - 10))
    assert told[1] == f"{whole} tokens, and max_length is {whole - 10}: 10 of the answer's {answer} tokens are cut"
    assert told[2].endswith("nothing of the answer is left")


def test_lengths_of_each_source_are_told_when_two_read_one_file(tmp_path: Path, model: ModelConfig) -> None:
    given = source(tmp_path / "rows.jsonl", [row_of(f"What of {n}?", "word " * 5) for n in range(20)])
    both = [(replace(given, name=name), False) for name in ("one", "other")]
    audited = audit(both, Settings({}, model=model), tmp_path, skip=["languages"], say=lambda line: None)
    (table,) = [table for table in audited.tables if table.title == "Lengths"]
    assert table.rows[0][1:5] == table.rows[1][1:5]
    assert int(str(table.rows[1][2])) > 5
    assert findings(audited) == []


def test_lengths_are_said_to_be_unknown_when_the_tokenizer_cannot_be_loaded(tmp_path: Path) -> None:
    told = lengths(tmp_path, ModelConfig(model_name_or_path=str(tmp_path / "none")), [row_of("Where?", "Here.")], 100)
    assert len(told) == 1 and told[0][1].startswith("lengths in tokens were not looked at")


def test_text_is_never_too_long(tmp_path: Path, model: ModelConfig, chat: Chat) -> None:
    """sft learns it in several rows; its length is told all the same."""
    words = "order thank you " * 40
    given = [(source(tmp_path / "rows.jsonl", [{"text": words}]), False)]
    audited = audit(given, Settings({"rows": 20}, model=model), tmp_path, skip=["languages"], say=lambda line: None)
    assert "too_long" not in {one["check"] for one in findings(audited)}
    (table,) = [table for table in audited.tables if table.title == "Lengths"]
    assert table.rows[0][4:] == [len(chat.tokenizer(words)["input_ids"]), None, 0]
