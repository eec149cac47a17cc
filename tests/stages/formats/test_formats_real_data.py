"""Real public data in the formats people have; skipped where POSTTUNE_TEST_DATA does not name it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pipeline.contract import DataSource, Source
from pipeline.errors import DataError
from stages.formats import best, load, read_rows

DATA = Path(os.environ.get("POSTTUNE_TEST_DATA", "/nowhere"))
pytestmark = pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")


MAILCHIMP = sorted(str(p.relative_to(DATA)) for p in DATA.glob("voice/mailchimp_style_guide/*"))
PERSONA = {"prompt": "question", "chosen": "answer_matching_behavior", "rejected": "answer_not_matching_behavior"}
CLINC, LISTED = "classification/clinc150_small_oos.json", {"text": "column1", "label": "column2"}
# file, what a recipe must say beside its path, format, kind of record; the rows that the data's README counts, how many
# of them are bad, and the records of the others
READ = [
    ("sft/alpaca_en.json", {}, "alpaca", "instruction", 485, 0, 485),
    ("sft/alpaca_zh.json", {}, "alpaca", "instruction", 241, 0, 241),
    ("sft/sharegpt_identity.json", {}, "sharegpt", "instruction", 150, 0, 150),
    ("sft/sharegpt_toolcall.json", {}, "sharegpt", "instruction", 139, 0, 139),
    ("sft/messages_typed_parts_tooluse.jsonl", {}, "messages", "instruction", 28, 0, 28),
    ("sft/persona_identity_placeholders.json", {}, "alpaca", "instruction", 49, 0, 49),
    ("sft/oasst_en_trees.jsonl.gz", {}, "oasst", "comparison", 49, 0, 104),
    ("sft/self_instruct_seed_tasks.jsonl", {}, "self_instruct", "instruction", 97, 0, 97),
    ("sft/self_instruct_user_tasks.jsonl", {}, "self_instruct", "instruction", 118, 0, 118),
    ("sft/prompt_completion_t0.jsonl.gz", {}, "prompt_completion", "instruction", 523, 0, 523),
    ("sft/oasst_messages.parquet", {}, "messages", "instruction", 49, 0, 49),
    ("sft/openai_chat_toy.jsonl", {}, "messages", "instruction", 5, 1, 4),  # row 4 has no user turn
    ("preference/hh_harmless.jsonl.gz", {}, "hh", "comparison", 1159, 9, 1150),
    ("preference/oasst_ranked.jsonl.gz", {}, "ranked", "comparison", 104, 0, 104),
    ("preference/alpacaeval_ranked.jsonl.gz", {}, "ranked", "comparison", 355, 0, 355),
    ("preference/mqm_zh_en_3raters.jsonl.gz", {}, "ranked", "comparison", 216, 0, 216),
    ("preference/mqm_en_de_3raters.jsonl.gz", {}, "ranked", "comparison", 50, 0, 50),
    ("preference/pandalm_3annotators.json", {}, "pandalm", "comparison", 444, 10, 434),  # 9 empty responses, 1 prompt
    ("preference/llmbar.json.gz", {}, "llmbar", "comparison", 438, 1, 437),  # one pair of the same text
    ("preference/tulu_human_eval.xlsx", {}, "judged", "comparison", 547, 3, 544),  # 3 without answers
    ("preference/dpo_sharegpt_en.json", {}, "pairs", "comparison", 148, 0, 148),
    ("preference/dpo_messages_typed_parts.jsonl", {}, "pairs", "comparison", 7, 0, 7),
    ("preference/persona_yes_no.jsonl.gz", {"map": PERSONA}, "pairs", "comparison", 1993, 0, 1993),
    ("preference/alpacaeval_pairs.parquet", {}, "pairs", "comparison", 355, 0, 355),
    ("classification/banking77_train.csv", {}, "labelled", "instruction", 4991, 0, 4991),
    ("classification/banking77_test.csv", {}, "labelled", "instruction", 1561, 0, 1561),
    ("classification/snips_intents.csv", {}, "labelled", "instruction", 1174, 0, 1174),
    ("classification/amazon_sentiment.tsv", {}, "labelled", "instruction", 506, 0, 506),
    *(  # 8,128 rows in six parts
        (CLINC, {"table": table, "map": LISTED}, "labelled", "instruction", count, 0, count)
        for table, count in (("train", 3749), ("val", 1521), ("test", 2258), ("oos_train", 59), ("oos_val", 53),
                             ("oos_test", 488))
    ),
    ("extraction/snips_slots.jsonl", {}, "extraction", "instruction", 1174, 0, 1174),
    ("extraction/nlupp_banking.json", {}, "extraction", "instruction", 1060, 0, 1060),
    ("extraction/nlupp_hotels.json", {"format": "extraction"}, "extraction", "instruction", 518, 0, 518),
    ("rag/xquad_en.json", {}, "squad", "instruction", 21, 0, 493),
    ("rag/xquad_en.json", {"format": "squad_questions"}, "squad_questions", "instruction", 21, 0, 493),
    ("rag/xquad_en.json", {"format": "squad_paragraphs"}, "squad_paragraphs", "document", 21, 0, 105),
    *((name, {}, "text", "document", 1, 0, 1) for name in MAILCHIMP),
    ("rag/rgb_counterfactual.jsonl", {"map": {"prompt": "query", "reference": "answer", "documents": "positive"}},
     "prompts", "prompt", 57, 0, 57),
    ("math/gsm8k_train.jsonl.gz", {}, "question_answer", "instruction", 3706, 0, 3706),
    ("math/gsm8k_test.jsonl", {}, "question_answer", "instruction", 661, 0, 661),
    ("math/gsm8k_model_solutions.jsonl.gz", {}, "solutions", "comparison", 661, 0, 661),
    ("ifeval/ifeval_prompts.jsonl", {}, "prompts", "prompt", 275, 0, 275),
    ("ifeval/ifeval_example_responses.jsonl.gz", {"map": {"completion": "response"}}, "prompt_completion",
     "instruction", 275, 0, 275),
    ("voice/asset_plain_english.jsonl.gz", {"map": {"prompt": "original", "answers": "rewrites"}}, "answers",
     "instruction", 1190, 0, 11900),
    ("voice/paradetox_civil_tone.tsv", {"map": {"prompt": "toxic", "completion": "neutral1"}}, "prompt_completion",
     "instruction", 1488, 2, 1486),  # 2 rows open a quote and do not close it
    ("dirty/sft_dirty_messages.jsonl", {}, "messages", "instruction", 321, 16, 305),
    ("dirty/sft_dirty_messages_test.jsonl", {}, "messages", "instruction", 70, 0, 70),
    ("dirty/prefs_dirty_pairs.jsonl", {}, "pairs", "comparison", 276, 13, 263),
    ("dirty/prefs_dirty_pairs_test.jsonl", {}, "pairs", "comparison", 57, 0, 57),
    ("dirty/ranked_dirty.jsonl", {}, "ranked", "comparison", 87, 6, 81),
]  # fmt: skip
# file, options, kind asked for, and what the refusal says
REFUSED = [
    ("sft/mt_bench_questions.jsonl", {}, "prompt", "holds evaluation questions of several user turns (MT-Bench)"),
    ("preference/kto_messages_en.json", {}, "comparison", "holds unpaired feedback (KTO), and no KTO objective"),
    ("preference/topical_chat_ratings.json", {}, "comparison", "holds one rated answer a row"),
    ("preference/asset_ratings_15workers.csv.gz", {}, "comparison", "holds one rated answer a row"),
    ("preference/asset_pairwise.csv.gz", {}, "comparison", "holds votes whose winner is given by a name of its own"),
    ("preference/argilla_tulu_flat.converted.json.gz", {}, "comparison", "is an export of Argilla"),
    ("preference/argilla_tulu_nested.converted.json.gz", {}, "comparison", "is an export of Argilla"),
    ("preference/labelstudio_pairwise_export.json", {}, "comparison", "is an export of Label Studio"),
    ("preference/labelstudio_pandalm.converted.json.gz", {}, "comparison", "is an export of Label Studio"),
    (CLINC, {}, "instruction", "holds lists where a row's values are expected"),
    (CLINC, {"table": "dev"}, "instruction", "has no list 'dev', which `table` names; it has oos_val, val, train"),
    ("extraction/nlupp_hotels.json", {}, "instruction", "row 13 of those that can be read: looks like 'text'"),
    ("extraction/snips_schema.json", {}, "instruction", "is a JSON Schema"),
    ("extraction/nlupp_ontology.json", {}, "instruction", "is one JSON object of named descriptions (an ontology)"),
    ("dirty/manifest.json", {}, "instruction", "holds lists where a row's values are expected"),
    *((name, {}, "instruction", "holds text records (format 'text')") for name in MAILCHIMP),
]


def read(name, kind, on_bad_row="error", **options):
    source = DataSource(path=str(DATA / name), on_bad_row=on_bad_row, **options)
    return load(Source("real", source), kind, "all")


def test_table_names_every_file_when_its_folder_holds_data_sets():
    files = {str(p.relative_to(DATA)) for p in DATA.glob("*/**/*") if p.is_file()}
    named = {name for name, *_ in (*READ, *REFUSED)}
    assert named == {name for name in files if not name.startswith("annotation_samples/")}


@pytest.mark.parametrize("name, options, form, kind, rows, bad, records", READ)
def test_every_row_is_read_or_listed_when_the_file_is_real(name, options, form, kind, rows, bad, records):
    unread = []
    found = list(read_rows(DATA / name, unread.append, options.get("table")))
    blank = name == "dirty/sft_dirty_messages.jsonl"  # an empty line, which is no row
    assert len(found) + len(unread) == rows - blank
    loaded = read(name, kind, "skip" if bad else "error", **options)
    assert (loaded.format, len(loaded.skipped), len(loaded.records)) == (form, bad - blank, records)


@pytest.mark.parametrize("name, options, kind, reason", REFUSED)
def test_file_is_refused_with_the_right_reason_when_it_holds_no_rows_for_it(name, options, kind, reason):
    with pytest.raises(DataError) as caught:
        read(name, kind, **options)
    assert caught.value.where.startswith(str(DATA / name)) and caught.value.problem.startswith(reason)
    assert caught.value.remedy


# Worked out by reading the first row of each file: how the best answer begins, and the ranks of each annotator.
STATED = [
    ("sft/oasst_en_trees.jsonl.gz", {}, "Both ChatGPT and InstructGPT are auto", [(1, 2, 3)]),  # ranks 0, 1, 2
    ("preference/oasst_ranked.jsonl.gz", {}, "Both ChatGPT and InstructGPT are auto", [(1, 2, 3)]),
    ("preference/hh_harmless.jsonl.gz", {}, "No, sorry!  All of these involve a pen", [(1, 2)]),
    ("preference/alpacaeval_ranked.jsonl.gz", {}, "Here are some famous actors", [(1, 4, 2, 4, 3, 3)]),
    ("preference/alpacaeval_pairs.parquet", {}, "Here are some famous actors", [(1, 2)]),
    # rater2 gave 8.1, 6, 10, 2, 7, 6, 5, 11, 3, 2; outputs 2 and 7 are the same text, and share 5.5
    ("preference/mqm_zh_en_3raters.jsonl.gz", {}, "EU Summit Argues Over Refugee Policy", [
        (6, 3, 7, 1, 5, 4, 3, 8, 2, 1), (6, 4, 5, 1, 7, 5, 4, 5, 3, 2), (7, 1, 5, 2, 4, 1, 1, 6, 6, 3)]),
    # rater3 gave 0, 0, 5, 5, 0.1, 5, 2, 0, 5, 5; 1 and 5 are the same text, as are 3, 6 and 9
    ("preference/mqm_en_de_3raters.jsonl.gz", {}, "Polizei nimmt 15 Personen nach gewaltsamen Protesten", [
        (1,) * 10, (2, 1, 4, 4, 2, 4, 3, 1, 4, 4), (1, 1, 2, 1, 1, 2, 1, 1, 2, 3)]),
    ("preference/pandalm_3annotators.json", {}, "If you have any questions, please", [(2, 1)] * 3),
    ("preference/llmbar.json.gz", {}, "My girlfriend's visa", [(1, 2)]),
    ("preference/tulu_human_eval.xlsx", {}, "Sure, here is a sample skill assessment", [(1, 2)]),  # a-is-better
    ("preference/dpo_sharegpt_en.json", {}, "That sounds like a fun and engaging idea!", [(1, 2)]),
    ("preference/dpo_messages_typed_parts.jsonl", {}, "Abdulah Hasanagic is the proud owner of AS Company in Gorazde",
     [(1, 2)]),
    ("preference/persona_yes_no.jsonl.gz", {"map": PERSONA}, " Yes", [(1, 2)]),
    ("math/gsm8k_model_solutions.jsonl.gz", {}, "It takes 2*1/2", [(1, 1, 2, 1)]),  # the third is wrong
    ("dirty/ranked_dirty.jsonl", {}, "Here's my attempt at a lighthearted", [(5, 4, 2, 2, 1, 3)]),
]  # fmt: skip


@pytest.mark.parametrize("name, options, start, ranks", STATED)
def test_best_answer_has_rank_one_when_the_first_row_is_read_by_hand(name, options, start, ranks):
    first = read(name, "comparison", "skip", limit=1, **options).records[0]
    assert [ranking.ranks for ranking in first.rankings] == ranks
    assert best(first).startswith(start)


def test_every_preference_file_has_a_stated_example_when_it_is_read():
    read_as_comparisons = {name for name, _, _, kind, *_ in READ if kind == "comparison"}
    assert read_as_comparisons - {name for name, *_ in STATED} == {
        "dirty/prefs_dirty_pairs.jsonl", "dirty/prefs_dirty_pairs_test.jsonl",  # their columns say which is chosen
    }  # fmt: skip


def test_trees_give_the_converted_rankings_when_another_program_made_those():
    def orders(name):
        held = read(name, "comparison").records
        return {r.id: {c: k for c, k in zip(r.completions, r.rankings[0].ranks, strict=True) if k} for r in held}

    assert orders("sft/oasst_en_trees.jsonl.gz") == orders("preference/oasst_ranked.jsonl.gz")


def test_hh_lists_what_it_leaves_out_when_bad_rows_are_skipped():
    loaded = read("preference/hh_harmless.jsonl.gz", "comparison", "skip")
    reasons = [reason for _, reason in loaded.skipped]
    assert len(loaded.records) + len(reasons) == 1159
    assert sum(reason.startswith("is empty") for reason in reasons) == 3
    assert sum(reason.startswith("the turns before the last answer differ") for reason in reasons) == 5
    assert sum(reason.startswith("two assistant turns in a row") for reason in reasons) == len(reasons) - 8 == 1


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
