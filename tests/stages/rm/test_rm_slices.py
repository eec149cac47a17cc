"""Accuracy by slice, on items and score differences made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from ranked_items import of_ranks, ranked
from tiny_run import make_context, write_rows

from pipeline.contract import ModelConfig, Table
from stages.modeling.chat import Chat
from stages.rm.data import Ranked, read_comparisons
from stages.rm.judged import Judged
from stages.rm.slices import by_slice


def judged(scores: list[float], items: list[Ranked]) -> Judged:
    """Pairs of these score differences, in the order of the items."""
    score_P = torch.tensor(scores, dtype=torch.float64)
    prompt_P = torch.tensor([place for place, item in enumerate(items) for _ in item.pairs])
    return Judged(score_P, score_P, score_P, score_P, score_P, prompt_P)


def rows(tables: list[Table], cut: str) -> dict[str, list[object]]:
    (table,) = tables
    return {str(row[1]): list(row[2:]) for row in table.rows if row[0] == cut}


def test_pairs_are_counted_in_the_slice_of_their_own_comparison() -> None:
    """Three pairs each of 12 comparisons from one source, then one pair each of 12 from another."""
    items = [replace(of_ranks((1, 2, 3)), source="chats") for _ in range(12)]
    items += [replace(of_ranks((1, 2)), source="code", origin="batch 7") for _ in range(12)]
    found = by_slice(judged([1.0] * 36 + [-1.0] * 12, items), items)
    assert rows(found, "data source") == {"chats": [12, 36, "1 [1, 1]"], "code": [12, 12, "0 [0, 0]"]}
    assert rows(found, "answers compared") == {"3": [12, 36, "1 [1, 1]"], "2": [12, 12, "0 [0, 0]"]}
    assert rows(found, "the rows' own source") == {"none": [12, 36, "1 [1, 1]"], "batch 7": [12, 12, "0 [0, 0]"]}
    assert not rows(found, "tokens of the prompt")
    assert found[0].note.startswith("6 slices") and " 26%" in found[0].note  # 1 - 0.95^6


def test_prompts_are_cut_into_thirds_by_length() -> None:
    items = [ranked([5] * length, [[6, 2], [7, 2]], (1, 2)) for length in (9, 1, 5, 2, 8, 6, 3, 4, 7) * 4]
    found = rows(by_slice(judged([1.0] * 36, items), items), "tokens of the prompt")
    assert [(name, own[1]) for name, own in found.items()] == [("1 to 3", 12), ("4 to 6", 12), ("7 to 9", 12)]


def test_slices_of_numbers_stand_in_their_order_and_sources_as_they_come() -> None:
    ways = (tuple(range(1, 11)), (1, 2), (1, 2, 3))
    items = [replace(of_ranks(ranks), source=f"source {len(ranks)}") for ranks in ways for _ in range(12)]
    found = by_slice(judged([1.0] * sum(len(item.pairs) for item in items), items), items)
    assert list(rows(found, "answers compared")) == ["2", "3", "10"]
    assert list(rows(found, "data source")) == ["source 10", "source 2", "source 3"]


def test_small_slices_say_so_and_many_are_taken_together() -> None:
    items = [replace(of_ranks((1, 2)), origin=f"site {i % 20}") for i in range(200)]
    found = rows(by_slice(judged([1.0] * 200, items), items), "the rows' own source")
    assert len(found) == 12 and found["the other 9"] == [90, 90, "1 [1, 1]"]
    few = rows(by_slice(judged([1.0] * 30, items[:30]), items[:30]), "the rows' own source")
    assert "too few: 2 pairs of 2 prompts" in str(few["site 3"])


def test_there_is_no_table_when_there_is_one_slice_only() -> None:
    items = [of_ranks((1, 2))] * 30
    assert by_slice(judged([1.0] * 30, items), items) == []


def test_comparisons_know_the_source_they_were_read_from_and_their_rows_own(
    model: ModelConfig, chat: Chat, tmp_path: Path
) -> None:
    made = [{"prompt": "q", "completions": ["a", "b"], "ranks": [1, 2], **own}
            for own in ({"source": "forum"}, {"source": {"batch_id": "b1", "completions": []}}, {})]  # fmt: skip
    files = [write_rows(tmp_path / f"{i}.jsonl", [{**row, "prompt": f"q{i}"}]) for i, row in enumerate(made)]
    context = make_context(tmp_path / "out", model, data=files)
    context.data["data"] = [
        replace(own, config=own.config.model_copy(update={"split": "all"})) for own in context.data["data"]
    ]
    found = read_comparisons(context, chat, "train", 96).ranked
    assert [item.origin for item in found] == ["forum", "batch b1", ""]
    assert [Path(item.source).name for item in found] == ["0.jsonl", "1.jsonl", "2.jsonl"]
