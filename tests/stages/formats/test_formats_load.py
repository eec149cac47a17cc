"""From a data source to records: mapping, splits, parts, limits, conversions, and what is refused."""

from __future__ import annotations

import json
import sys
import types

import pytest

from pipeline.contract import DataSource, Source
from pipeline.errors import DataError
from stages.formats import Document, Instruction, Log, Prompt, Text, check, iter_records, load
from stages.formats.load import is_hub_id

HELDOUT_OF_12 = ["0", "4", "11"]  # see test_formats_split


def source(path, **config):
    return Source("mine", DataSource(path=str(path), **config))


def lines(folder, rows, name="a.jsonl"):
    file = folder / name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


def twelve(folder, **more):
    return lines(folder, [{"id": str(i), "prompt": f"question {i}"} | more for i in range(12)])


def ids(loaded):
    return [record.id for record in loaded.records]


def error_of(*args):
    with pytest.raises(DataError) as caught:
        load(*args)
    return caught.value


def test_sides_are_disjoint_and_complete_when_split(tmp_path):
    file = twelve(tmp_path)
    train, heldout = (ids(load(source(file), "prompt", side)) for side in ("train", "heldout"))
    assert heldout == HELDOUT_OF_12
    assert sorted(train + heldout, key=int) == ids(load(source(file), "prompt", "all"))


def test_texts_and_conversations_are_read_as_they_are_where_either_may_be_learnt(tmp_path):
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    cases = [
        ({"id": "a", "messages": talk}, Instruction("a", tuple(talk))),
        ({"id": "a", "text": "Four weeks."}, Text("a", "Four weeks.")),
        ({"id": "a", "text": "Four weeks.", "title": "Returns"}, Document("a", "Four weeks.", "Returns")),
        ({"id": "a", "prompt": "Hi", "chosen": "Hello", "rejected": "Go"}, Instruction("a", tuple(talk))),
    ]
    for row, record in cases:
        file = lines(tmp_path, [row])
        check({"sft.data": ("instruction or text", "all", [source(file)])})
        assert load(source(file), "instruction or text", "all").records == (record,)


@pytest.mark.parametrize("kind", ["instruction", "comparison", "prompt"])
def test_text_is_refused_where_no_text_can_be_read(tmp_path, kind):
    (tmp_path / "a.md").write_text("# Returns", "utf-8")
    with pytest.raises(DataError, match=rf"holds text records \(format 'text'\); {kind} records are needed here"):
        check({"dpo.data": (kind, "all", [source(tmp_path / "a.md")])})


def test_one_text_file_is_to_be_divided_when_nothing_is_held_out(tmp_path):
    (tmp_path / "a.md").write_text("# Returns", "utf-8")
    refused = error_of(source(tmp_path / "a.md"), "instruction or text", "heldout")
    assert "of a text file all is one row: divide it" in refused.remedy


def test_prompt_is_refused_where_a_conversation_or_a_text_is_learnt(tmp_path):
    refused = error_of(source(lines(tmp_path, [{"prompt": "Hi"}])), "instruction or text", "all")
    assert refused.problem.endswith("instruction or text records are needed here")


def test_equal_prompts_lie_on_one_side_when_sources_differ_in_format(tmp_path):
    twelve(tmp_path)
    pairs = lines(
        tmp_path,
        [{"id": str(i), "prompt": f"question {i}", "chosen": "a", "rejected": "b"} for i in range(12)],
        "b.jsonl",
    )
    talks = lines(
        tmp_path, [{"id": str(i), "instruction": f"question {i}", "output": "a"} for i in range(12)], "c.jsonl"
    )
    assert (
        ids(load(source(pairs), "comparison", "heldout"))
        == ids(load(source(talks), "instruction", "heldout"))
        == HELDOUT_OF_12
    )


def test_own_split_wins_when_the_source_names_one(tmp_path):
    assert ids(load(source(twelve(tmp_path), split="heldout"), "prompt", "train")) == HELDOUT_OF_12


def test_part_and_limit_apply_after_the_split_when_given(tmp_path):
    file = twelve(tmp_path)
    assert ids(load(source(file, part="1/2"), "prompt", "all")) == ["0", "2", "6", "9", "10", "11"]
    assert ids(load(source(file, part="1/2", limit=1), "prompt", "train")) == ["2"]


def test_columns_are_renamed_when_mapped(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("text,category\nWhere is my card?,card_arrival\n", "utf-8")
    loaded = load(source(file, map={"prompt": "text", "completion": "category"}), "instruction", "all")
    assert loaded.format == "prompt_completion" and loaded.files == (str(file),)
    assert [m["content"] for m in loaded.records[0].messages] == ["Where is my card?", "card_arrival"]


def test_mapping_fails_with_the_nearest_column_when_it_is_missing(tmp_path):
    file = lines(tmp_path, [{"question": "Hi"}])
    error = error_of(source(file, map={"prompt": "questoin"}), "prompt", "all")
    assert (error.where, error.remedy) == (str(file), "did you mean 'question'?")


def test_mapped_column_that_no_row_has_is_one_error_of_the_file_when_bad_rows_are_skipped(tmp_path):
    file = lines(tmp_path, [{"question": "Hi"}] * 30)
    error = error_of(source(file, map={"prompt": "questoin"}, on_bad_row="skip"), "prompt", "all")
    assert error.problem == "no column 'questoin', which `map` names; the first rows have question"


def test_mapped_column_that_one_row_lacks_is_that_rows_error(tmp_path):
    file = lines(tmp_path, [{"question": "Hi"}, {"text": "Hi"}])
    assert error_of(source(file, map={"prompt": "question"}), "prompt", "all").where == f"{file}:row 2"


@pytest.mark.parametrize(("value", "found"), [(5, "the number 5"), ({"text": "Hi"}, "an object")])
def test_prompt_that_is_neither_text_nor_messages_is_told_what_is_allowed(tmp_path, value, found):
    error = error_of(source(lines(tmp_path, [{"prompt": value}])), "prompt", "all")
    assert error.problem == f"is {found}; text, or a list of messages, is allowed"
    assert error.remedy == "write it as text, or as messages of role and content"


def test_bad_row_is_an_error_with_file_row_and_field_when_strict(tmp_path):
    file = lines(tmp_path, [{"prompt": "Hi", "completion": "Yo"}, {"prompt": "Hi", "completion": " "}])
    error = error_of(source(file), "instruction", "all")
    assert error.where == f"{file}:row 2: completion" and error.exit_code == 2


def test_bad_rows_are_listed_when_skipped(tmp_path):
    file = lines(
        tmp_path, [{"id": "1", "prompt": "Hi", "completion": "Yo"}, {"prompt": "Hi", "completion": " "}, {"x": 1}, 7]
    )
    loaded = load(source(file, on_bad_row="skip"), "instruction", "all")
    assert ids(loaded) == ["1"]
    assert [where for where, _ in loaded.skipped] == [
        f"{file}:row 4",
        f"{file}:row 2: completion",
        f"{file}:row 3: prompt",
    ]
    assert all(reason for _, reason in loaded.skipped)


def test_tied_comparison_is_kept_when_it_gives_no_pair(tmp_path):
    file = lines(tmp_path, [{"id": "t", "prompt": "Hi", "completions": ["a", "b"], "ranks": [1, 1]}])
    assert ids(load(source(file), "comparison", "all")) == ["t"]


def test_last_answer_becomes_the_reference_when_instructions_serve_as_prompts(tmp_path):
    talk = [
        {"role": r, "content": c}
        for r, c in (("user", "Hi"), ("assistant", "Yo"), ("user", "Bye"), ("assistant", "See you"))
    ]
    file = lines(tmp_path, [{"id": "i", "messages": talk}])
    assert load(source(file), "prompt", "all").records == (Prompt("i", tuple(talk[:3]), "See you"),)


@pytest.mark.parametrize("row, reference", [
    ({"prompt": "Say hi", "answers": ["Hi", "Hello"]}, ["Hi", "Hello"]),
    ({"prompt": "Say hi", "answers": ["Hi", "Hi"]}, "Hi"),
    ({"messages": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "Hi"}],
      "references": ["Hi", "Hello"]}, ["Hi", "Hello"]),
    ({"messages": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "Hi"}],
      "references": ["Hello"]}, ["Hi", "Hello"]),
])  # fmt: skip
def test_every_right_answer_is_a_reference_when_a_row_has_several(tmp_path, row, reference):
    first = load(source(lines(tmp_path, [row])), "prompt", "all").records[0]
    assert first.reference == reference


def test_documents_are_read_from_texts_and_from_a_folder_of_files(tmp_path):
    (tmp_path / "faq").mkdir()
    (tmp_path / "faq" / "loans.md").write_text("# Loans\n\nFour weeks.\n")
    rows = lines(tmp_path, [{"id": "t", "text": "Four weeks."}])
    assert load(source(rows), "document", "all").records == (Document("t", "Four weeks."),)
    assert load(source(f"{tmp_path}/*/*.md"), "document", "all").records == (
        Document("faq/loans.md", "# Loans\n\nFour weeks.\n"),
    )


def test_questions_about_one_paragraph_lie_on_both_sides_when_asked_without_it(tmp_path):
    asked = [{"id": str(i), "question": f"Question {i}?", "answers": [{"text": "a"}]} for i in range(40)]
    file = tmp_path / "a.json"
    file.write_text(json.dumps({"data": [{"paragraphs": [{"context": "All of it.", "qas": asked}]}]}))
    sides = [load(source(file, format="squad_questions"), "prompt", side).records for side in ("train", "heldout")]
    assert all(sides) and sum(map(len, sides)) == 40
    assert {record.prompt[0]["content"] for side in sides for record in side} == {f"Question {i}?" for i in range(40)}


@pytest.mark.parametrize("rules, given", [
    ({"instruction_id_list": ["a:b", "c:d"], "kwargs": [{}, {"n": 2}]}, [{}, {"n": 2}]),
    ({"instruction_id_list": '["a:b", "c:d"]', "kwargs": '[{}, {"n": 2}]'}, [{}, {"n": 2}]),
    ({"instruction_id_list": ["a:b", "c:d"]}, [{}, {}]),
])  # fmt: skip
def test_rules_of_ifeval_become_the_reference(tmp_path, rules, given):
    (record,) = load(source(lines(tmp_path, [{"prompt": "Hi", **rules}])), "prompt", "all").records
    assert record.reference == {"instruction_id_list": ["a:b", "c:d"], "kwargs": given}


def test_comparison_gives_its_prompt_and_best_answer_when_converted(tmp_path):
    rankings = [{"annotator": "x", "ranks": [1, 2, None]}, {"annotator": "y", "ranks": [3, 1, 2]}]
    file = lines(
        tmp_path, [{"id": "k", "prompt": "Hi", "completions": ["a", "b", "c"], "rankings": rankings, "reference": 7}]
    )
    asked = {"role": "user", "content": "Hi"}
    assert load(source(file), "prompt", "all").records == (Prompt("k", (asked,), 7),)
    best = {"role": "assistant", "content": "b"}  # mean ranks 2, 1.5, 2
    assert load(source(file), "instruction", "all").records == (Instruction("k", (asked, best)),)


@pytest.mark.parametrize("row, kind, problem", [
    ({"prompt": "Hi"}, "comparison", "holds prompt records (format 'prompts'); comparison records are needed here"),
    ({"instruction": "Hi", "output": "Yo"}, "comparison", "holds instruction records (format 'alpaca'); comparison"),
    ({"text": "Hi"}, "instruction", "holds text records (format 'text'); instruction records are needed here"),
    ({"prompt": "Hi", "completion": "Yo", "label": True}, "instruction", "holds unpaired feedback (KTO), and no KTO"),
])  # fmt: skip
@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_loading_fails_when_the_file_holds_another_kind(tmp_path, row, kind, problem, on_bad_row):
    file = lines(tmp_path, [row])
    error = error_of(source(file, on_bad_row=on_bad_row), kind, "all")
    assert error.where == str(file) and error.problem.startswith(problem)


def test_loading_fails_with_the_counts_when_nothing_is_left(tmp_path):
    file = lines(tmp_path, [{"prompt": "question 1"}, {"prompt": "question 2"}, {"prompt": ""}])
    error = error_of(source(file, on_bad_row="skip"), "prompt", "heldout")
    assert error.problem == "no rows left on side 'heldout': 2 good ones, 2 on the other side; 1 bad rows skipped"


def test_loading_fails_when_files_of_a_source_differ_in_format(tmp_path):
    lines(tmp_path, [{"prompt": "Hi", "completion": "Yo"}])
    lines(tmp_path, [{"instruction": "Hi", "output": "Yo"}], "b.jsonl")
    assert "several formats: alpaca, prompt_completion" in error_of(source(tmp_path), "instruction", "all").problem


def test_named_format_is_used_when_the_keys_would_say_otherwise(tmp_path):
    file = lines(tmp_path, [{"text": "Hi", "category": "greeting"}])
    assert "(format 'text')" in error_of(source(file, format="text"), "prompt", "all").problem


def test_records_pass_one_by_one_when_iterated(tmp_path):
    file = twelve(tmp_path)
    with file.open("a", encoding="utf-8") as stream:
        stream.write('{"prompt": "question 1"}\n' * 20 + "{\n")  # past the rows by which the format is told
    passing = iter_records(source(file), "prompt", "heldout")
    assert [next(passing).id for _ in range(3)] == HELDOUT_OF_12
    with pytest.raises(DataError, match="is not JSON"):
        next(passing)


def test_log_says_what_the_reading_was_when_records_are_iterated(tmp_path):
    log = Log()
    file = lines(tmp_path, [{"prompt": "Hi"}, {"prompt": ""}, {"prompt": "Ho"}])
    assert len(list(iter_records(source(file, on_bad_row="skip"), "prompt", "all", log))) == 2
    assert log.formats == {str(file): "prompts"} and [place for place, _ in log.skipped] == [f"{file}:row 2: prompt"]


def test_all_records_of_a_row_lie_on_one_side_when_it_gives_several(tmp_path):
    rows = [{"id": str(i), "prompt": f"question {i}", "answers": ["a", "b"]} for i in range(12)]
    file = lines(tmp_path, rows)
    heldout = ids(load(source(file), "instruction", "heldout"))
    assert heldout == [f"{i}:{n}" for i in HELDOUT_OF_12 for n in (1, 2)]


def test_table_is_read_when_the_source_names_one(tmp_path):
    (tmp_path / "a.json").write_text('{"train": [["Hi", "greeting"]], "test": []}', "utf-8")
    mapped = source(tmp_path / "a.json", table="train", map={"text": "column1", "label": "column2"})
    (record,) = load(mapped, "instruction", "all").records
    assert [m["content"] for m in record.messages] == ["Hi", "greeting"]


def test_direction_is_stated_by_the_map_when_lower_is_better(tmp_path):
    file = lines(tmp_path, [{"prompt": "Hi", "completions": ["a", "b"], "errors": [3, 0]}])
    (record,) = load(source(file, map={"penalties": "errors"}), "comparison", "all").records
    assert record.rankings[0].ranks == (2, 1)


def test_hub_configuration_is_asked_for_when_table_names_it(monkeypatch):
    asked = {}
    stand_in(monkeypatch, lambda path, **options: asked.update(options) or [{"id": "h", "prompt": "Hi"}])
    load(source("owner/name", table="main"), "prompt", "all")
    assert asked == {"name": "main", "split": "train", "revision": None}


@pytest.mark.parametrize("path, answer", [
    ("HuggingFaceH4/ultrafeedback_binarized", True), ("owner/rows.jsonl", False), ("one", False),
    ("a/b/c", False), ("./a/b", False),
])  # fmt: skip
def test_path_is_a_hub_id_when_it_looks_like_owner_and_name(path, answer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_hub_id(path) is answer


def test_path_is_no_hub_id_when_its_folder_is_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    assert not is_hub_id("data/helpdesk")


def stand_in(monkeypatch, load_dataset):
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_hub_rows_are_read_when_the_path_is_a_hub_id(monkeypatch):
    asked = {}
    stand_in(monkeypatch, lambda path, **options: asked.update(options, path=path) or [{"id": "h", "prompt": "Hi"}])
    loaded = load(source("owner/name", hub_split="test", revision="abc"), "prompt", "all")
    assert ids(loaded) == ["h"] and loaded.files == ("owner/name[test]",)
    assert asked == {"path": "owner/name", "split": "test", "revision": "abc"}


@pytest.mark.parametrize("failure, problem", [
    (ConnectionError("timed out"), "the hub cannot be reached (ConnectionError: timed out)"),
    (FileNotFoundError("none"), "no such file here, and no such data set on the hub"),
    (ValueError("Unknown split"), "the hub's data set cannot be read (ValueError: Unknown split)"),
])  # fmt: skip
def test_loading_fails_with_a_remedy_when_the_hub_does(monkeypatch, failure, problem):
    def load_dataset(path, **options):
        raise failure

    stand_in(monkeypatch, load_dataset)
    error = error_of(source("owner/name"), "prompt", "all")
    assert error.problem.startswith(problem) and error.remedy


def test_check_raises_the_first_error_and_passes_hub_ids_when_reading_all_fields(tmp_path):
    good = source(twelve(tmp_path))
    bad = source(lines(tmp_path, [{"prompt": ""}], "b.jsonl"))
    check({"evaluate.data": ("prompt", "heldout", [good, source("owner/name")])})
    with pytest.raises(DataError, match="is empty or white space"):
        check({"evaluate.data": ("prompt", "heldout", [good]), "ppo.data": ("prompt", "train", [bad])})
