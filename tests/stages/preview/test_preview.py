"""Each stage's rows as the stage itself encodes them, what counts, what is left out, and the counts above."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_run import write_rows

from pipeline import registry
from pipeline.contract import DataSource, ModelConfig, Source
from pipeline.errors import DataError
from stages import dpo, ppo, rm, sft
from stages.preview.preview import Preview, Row, preview
from stages.preview.terminal import heading

RECORDS = {"sft": "instruction or text", "rm": "comparison", "dpo": "comparison", "ppo": "prompt"}
CONFIGS: dict[str, Any] = {"sft": sft.Config, "rm": rm.Config, "dpo": dpo.Config, "ppo": ppo.Config}
GIVEN = {"sft": {}, "rm": {}, "dpo": {"policy": "sft"}, "ppo": {"policy": "sft", "reward": "rm"}}


def look(model: ModelConfig, kind: str, path: Path, *, field: str = "data", records: str = "", rows: int = 3,
         source: dict[str, Any] | None = None, **changes: Any) -> Preview:  # fmt: skip
    config = CONFIGS[kind](data="rows", **GIVEN[kind], **changes)
    given = Source("rows", DataSource(path=str(path), **{"split": "all", **(source or {})}), heldout_fraction=0.3)
    sources = {field: (records or RECORDS[kind], [given])}
    return preview(kind, kind, config, model=model, seed=17, sources=sources, rows=rows)


def text(row: Row, part: int = 0, **wanted: bool) -> str:
    """The text of the pieces of a part that are as wanted."""
    return "".join(p.text for p in row.parts[part].pieces if all(getattr(p, k) == v for k, v in wanted.items()))


def conversation(*said: str) -> dict[str, Any]:
    return {"messages": [{"role": ("user", "assistant")[i % 2], "content": s} for i, s in enumerate(said)]}


def facts(found: Preview) -> dict[str, str]:
    return dict(found.sections[0].facts)


def test_sft_shows_the_whole_conversation_and_counts_the_last_answer(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [conversation("one", "two", "three", "four")])
    (row,) = look(model, "sft", data).sections[0].rows
    turns = [("user", "one"), ("assistant", "two"), ("user", "three"), ("assistant", "four")]
    whole = "".join(f"<|im_start|>{who}\n{said}<|im_end|>\n" for who, said in turns)
    assert text(row) == whole.removesuffix("\n")
    assert text(row, counts=True) == "four<|im_end|>"


def test_sft_counts_every_answer_when_the_loss_is_on_the_assistant(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [conversation("one", "two", "three", "four")])
    (row,) = look(model, "sft", data, loss_on="assistant").sections[0].rows
    assert text(row, counts=True) == "two<|im_end|>four<|im_end|>"


def test_sft_shows_what_max_length_cuts(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [conversation("one", "two two two")])
    before = look(model, "sft", data).sections[0].rows[0]
    found = look(model, "sft", data, max_length=before.length - 2)
    assert text(found.sections[0].rows[0], cut=True).endswith("<|im_end|>")
    assert facts(found)["cut"] == "max_length cuts 1 row: 2 tokens, 2 of them would count in the loss"
    assert [warned.rows for warned in found.sections[0].warnings] == [[1]]
    assert "end token" in found.sections[0].warnings[0].told


def test_sft_says_how_rows_are_packed(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [conversation("q", "a")] * 4)
    length = look(model, "sft", data).sections[0].rows[0].length
    packing = facts(look(model, "sft", data, packing=True, max_length=2 * length))["packing"]
    assert packing.startswith(f"4 rows in 2 items of at most {2 * length} tokens, 100% full")


def test_long_removed_part_is_not_shown_whole(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [conversation("one", "x1 " * 600)])
    (row,) = look(model, "sft", data, max_length=30).sections[0].rows
    assert sum(len(piece.ids) for piece in row.parts[0].pieces) == 230
    assert row.notes == [f"{row.length - 230:,} more tokens that truncation removes are not shown"]


COMPARED = {"prompt": "which?", "completions": ["bad", "good", "middling"], "ranks": [3, 1, 2]}
TIED = {"prompt": "same?", "completions": ["one", "other"], "ranks": [1, 1]}


def test_rm_shows_the_prompt_once_and_completions_by_rank(model: ModelConfig, tmp_path: Path) -> None:
    (row,) = look(model, "rm", write_rows(tmp_path / "rows.jsonl", [COMPARED])).sections[0].rows
    assert [part.label for part in row.parts] == [
        "prompt", "completion 2, rank 1", "completion 3, rank 2", "completion 1, rank 3",
    ]  # fmt: skip
    assert text(row) == "<|im_start|>user\nwhich?<|im_end|>\n<|im_start|>assistant\n"
    assert [text(row, i) for i in (1, 2, 3)] == ["good<|im_end|>", "middling<|im_end|>", "bad<|im_end|>"]
    assert [text(row, i, counts=True) for i in range(4)] == ["", *["<|im_end|>"] * 3]


def test_rm_leaves_out_a_comparison_when_its_loss_reads_no_ties(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [TIED, COMPARED])
    found = look(model, "rm", data)
    assert facts(found)["left out"] == "1 without an order to learn from"
    assert facts(found)["pairs"] == "3"
    assert facts(look(model, "rm", data, ties="soft"))["left out"] == "none"


def test_rm_reads_tied_rankings_of_held_out_rows_whatever_the_loss(model: ModelConfig, tmp_path: Path) -> None:
    part_tied = {"prompt": "which?", "completions": ["a", "b", "c"], "ranks": [1, 2, 2]}
    data = write_rows(tmp_path / "rows.jsonl", [part_tied])
    train = look(model, "rm", data, loss_type="plackett_luce")
    judged = look(model, "rm", data, field="eval_data", loss_type="plackett_luce")
    assert facts(train)["left out"] == "1 without an order to learn from"
    assert facts(judged)["left out"] == "none"


def test_dpo_counts_both_answers_of_its_pairs_alone(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [COMPARED])
    (row,) = look(model, "dpo", data, pairs_per_prompt=1).sections[0].rows
    assert row.notes == ["1 pair: completion 2 over 1"]
    counted = [text(row, i, counts=True) for i in range(4)]
    assert counted == ["", "good<|im_end|>", "", "bad<|im_end|>"]
    assert row.parts[2].label == "completion 3, rank 2, in no pair"


def test_heading_counts_tokens_and_those_in_the_loss_over_the_same_parts(model: ModelConfig, tmp_path: Path) -> None:
    (row,) = look(model, "dpo", write_rows(tmp_path / "rows.jsonl", [COMPARED]), pairs_per_prompt=1).sections[0].rows
    tokens = [sum(len(piece.ids) for piece in part.pieces) for part in row.parts]
    assert (row.num_tokens, row.num_counted) == (sum(tokens), tokens[1] + tokens[3])
    longest = tokens[0] + max(tokens[1], tokens[3])
    assert heading(row).endswith(
        f": {sum(tokens)} tokens, {row.num_counted} of them in the loss; the longest sequence has {longest}"
    )


def test_dpo_leaves_out_the_pairs_that_are_too_long(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{**COMPARED, "completions": ["bad " * 90, "good", "middling"]}])
    found = look(model, "dpo", data, max_length=60)
    assert facts(found)["pairs"] == "1; left out, too long: 2"
    assert found.sections[0].rows[0].left_out == ""


def test_ppo_shows_prompts_as_generation_gets_them_and_leaves_out_long_ones(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"prompt": "short"}, {"prompt": "long " * 50}])
    found = look(model, "ppo", data, max_prompt_length=40)
    short, long = found.sections[0].rows
    assert text(short) == "<|im_start|>user\nshort<|im_end|>\n<|im_start|>assistant\n"
    assert (short.left_out, long.left_out) == ("", "longer than max_prompt_length")
    assert facts(found)["left out"] == "1 longer than max_prompt_length"


def test_row_that_the_template_refuses_is_told_and_the_others_are_shown(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "strict"
    shutil.copytree(tiny_model, folder)
    template = folder / "chat_template.jinja"
    refuse = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
    template.write_text(refuse + template.read_text("utf-8"), "utf-8")
    rows = [conversation("q", "a"), conversation("q2", "a")]
    rows[1]["messages"].insert(0, {"role": "system", "content": "s"})
    found = look(ModelConfig(model_name_or_path=str(folder)), "sft", write_rows(tmp_path / "rows.jsonl", rows))
    assert facts(found)["left out"] == "1 refused by the chat template"
    (warned,) = found.sections[0].warnings
    assert "no system turn" in warned.told and list(warned.rows) == [2]
    assert [bool(row.parts) for row in found.sections[0].rows] == [True, False]


def test_example_of_a_warning_is_shown_though_it_is_not_among_the_first_rows(
    model: ModelConfig, tmp_path: Path
) -> None:
    rows = [conversation(f"q{i}", "a") for i in range(6)] + [conversation("q", "a<|im_end|>")]
    found = look(model, "sft", write_rows(tmp_path / "rows.jsonl", rows), rows=2)
    assert [row.number for row in found.sections[0].rows] == [1, 2, 7]


def test_training_reads_its_side_of_the_split_and_bad_rows_are_counted(model: ModelConfig, tmp_path: Path) -> None:
    rows = [*(conversation(f"question {i}", "a") for i in range(12)), {"messages": []}]
    data = write_rows(tmp_path / "rows.jsonl", rows)
    found = facts(look(model, "sft", data, source={"split": None, "on_bad_row": "skip"}))
    assert found["rows"] == "8 for training"  # by the hash of their text four of the twelve are held out at 0.3
    assert found["bad rows"].startswith(f"1 left out, the first at {data}:row 13")


def test_many_rows_are_looked_at_in_part_and_this_is_said(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"prompt": f"{i}"} for i in range(4001)])
    found = look(model, "ppo", data)
    assert facts(found)["rows"] == "4,001 for training"
    assert facts(found)["looked at"].startswith("2,000 of them")
    assert [row.number for row in found.sections[0].rows] == [1, 3, 5]


def test_bad_row_is_an_error_as_it_is_in_training(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"messages": [{"role": "user", "content": ""}]}])
    with pytest.raises(DataError):
        look(model, "sft", data)


def test_kind_that_has_no_encoding_of_its_own_is_read_by_its_records(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [conversation("one", "two")])
    given = Source("rows", DataSource(path=str(data), split="all"))
    found = preview("mine", "toy", None, model=model, seed=1, sources={"data": ("instruction", [given])})
    assert text(found.sections[0].rows[0], counts=True) == "two<|im_end|>"


def test_documents_are_passed_over_since_no_row_of_theirs_is_encoded(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "Loans run for four weeks."}])
    given = Source("rows", DataSource(path=str(data)))
    assert (
        preview("e", "evaluate", None, model=model, seed=1, sources={"documents": ("document", [given])}).sections == []
    )


def test_places_that_the_engine_names_are_there() -> None:
    for dotted in (registry.PREVIEW, registry.PREVIEW_TERMINAL, registry.PREVIEW_PAGE):
        assert callable(registry.load(dotted))


def test_sft_shows_a_text_in_the_rows_that_it_becomes(model: ModelConfig, tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"text": "bdfhjlnpr", "title": "t"}, {"text": "xyz"}])
    named = {"format": "documents"}
    found = look(model, "sft", data, source=named, max_length=5)
    long, short = found.sections[0].rows
    assert [text(long, part) for part in (0, 1)] == ["t\n\nb", "bdfhj"]  # two of three rows
    assert [text(long, part, counts=True) for part in (0, 1)] == ["\n\nb", "dfhj"]
    assert long.num_counted == 11
    assert long.notes == ["a text of 12 tokens in 3 rows", "the first 2 rows of it are shown"]
    assert [part.label for part in (*long.parts, *short.parts)] == ["text, 1 of 3", "text, 2 of 3", "text"]
    told = facts(found)
    assert told["texts"] == "2 in 4 rows: of each text every token but the first counts"
    assert told["cut"].startswith("nothing")
    assert told["in the loss"].startswith("13 of ")
    assert found.sections[0].warnings == []
