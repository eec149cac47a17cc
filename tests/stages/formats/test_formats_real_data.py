"""Real public data in the formats people have; skipped where POSTTUNE_TEST_DATA does not name it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.contract import DataSource, Source
from pipeline.errors import DataError
from stages.formats import load

DATA = Path(os.environ.get("POSTTUNE_TEST_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")


def read(name, kind, on_bad_row="error"):
    return load(Source("real", DataSource(path=str(DATA / name), on_bad_row=on_bad_row)), kind, "all")


@pytest.mark.parametrize("name, kind, form, count", [
    ("sft/alpaca_en.json", "instruction", "alpaca", 485),
    ("sft/alpaca_zh.json", "instruction", "alpaca", 241),
    ("sft/sharegpt_identity.json", "instruction", "sharegpt", 150),
    ("sft/sharegpt_toolcall.json", "instruction", "sharegpt", 139),
    ("sft/messages_typed_parts_tooluse.jsonl", "instruction", "messages", 28),
    ("sft/prompt_completion_t0.jsonl.gz", "instruction", "prompt_completion", 523),
    ("sft/oasst_messages.parquet", "instruction", "messages", 49),
    ("preference/oasst_ranked.jsonl.gz", "comparison", "ranked", 104),
    ("preference/alpacaeval_ranked.jsonl.gz", "comparison", "ranked", 355),
    ("preference/alpacaeval_pairs.parquet", "comparison", "pairs", 355),
    ("preference/dpo_sharegpt_en.json", "comparison", "pairs", 148),
    ("preference/dpo_messages_typed_parts.jsonl", "comparison", "pairs", 7),
    ("ifeval/ifeval_prompts.jsonl", "prompt", "prompts", 275),
])  # fmt: skip
def test_all_rows_are_read_when_the_file_is_sound(name, kind, form, count):
    loaded = read(name, kind)
    assert (loaded.format, len(loaded.records), loaded.skipped) == (form, count, ())


def test_hh_lists_what_it_leaves_out_when_bad_rows_are_skipped():
    loaded = read("preference/hh_harmless.jsonl.gz", "comparison", "skip")
    reasons = [reason for _, reason in loaded.skipped]
    assert len(loaded.records) + len(reasons) == 1159
    assert sum(reason.startswith("is empty") for reason in reasons) == 3
    assert sum(reason.startswith("the turns before the last answer differ") for reason in reasons) == 5
    assert sum(reason.startswith("two assistant turns in a row") for reason in reasons) == len(reasons) - 8 == 1


def test_kto_rows_are_refused_with_the_reason_when_asked_for():
    with pytest.raises(DataError, match="no KTO objective exists yet"):
        read("preference/kto_messages_en.json", "comparison")


def test_best_completion_is_the_chosen_one_when_pairs_were_made_from_rankings():
    best = read("preference/alpacaeval_ranked.jsonl.gz", "instruction").records
    pairs = {record.prompt_key: record for record in read("preference/alpacaeval_pairs.parquet", "comparison").records}
    scores = {r.prompt_key: r for r in read("preference/alpacaeval_ranked.jsonl.gz", "comparison").records}
    for record in best:
        pair, ranked = pairs[record.prompt_key], scores[record.prompt_key]
        ranks = dict(zip(ranked.completions, ranked.rankings[0].ranks, strict=True))
        assert ranks[record.messages[-1]["content"]] == 1 == ranks[pair.completions[0]]
        assert ranks[pair.completions[1]] == max(ranks.values())


KNOWN_TO_ROWS = {  # defects that one row shows; the others (copies, leaks, contradictions) are the audit's to find
    "invalid_json", "broken_utf8", "missing_field", "wrong_type", "bad_role", "empty_completion", "empty_prompt",
    "no_assistant_turn", "roles_do_not_alternate", "very_long_row", "identical_pair", "single_completion",
    "length_mismatch", "rank_out_of_range", "same_text_different_rank",
}  # fmt: skip


@pytest.mark.parametrize("name, kind", [
    ("sft_dirty_messages.jsonl", "instruction"), ("prefs_dirty_pairs.jsonl", "comparison"),
    ("ranked_dirty.jsonl", "comparison"),
])  # fmt: skip
def test_exactly_the_planted_defects_are_skipped_when_files_are_dirty(name, kind):
    defects = json.loads((DATA / "dirty/manifest.json").read_text("utf-8"))["defects"]
    planted = {d["row"] for d in defects if d["file"] == name and d["defect"] in KNOWN_TO_ROWS}
    planted -= {d["row"] for d in defects if d["detail"] == "one rank is null"}  # here null means not ranked
    skipped = read(f"dirty/{name}", kind, "skip").skipped
    assert {int(where.split(":row ")[1].split(":")[0]) for where, _ in skipped} == planted
