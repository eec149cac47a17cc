"""Telling the format of rows by their keys."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipeline.errors import DataError
from stages.formats import FORMATS, find
from stages.formats.registry import named

ASK, SAY = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}


@pytest.mark.parametrize("name, row", [
    ("messages", {"messages": [ASK, SAY], "label": "greeting"}),
    ("prompts", {"messages": [ASK, SAY, ASK]}),
    ("kto", {"messages": [ASK, SAY], "label": True}),
    ("prompt_completion", {"prompt": "Hi", "completion": "Yo", "label": "greeting"}),
    ("ranked", {"prompt": "Hi", "completions": [], "scores": [], "ranks": []}),
    ("pairs", {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "a", "rejected": "b"}),
    ("pairs", {"chosen_messages": [], "rejected_messages": []}),
    ("pairs", {"conversations": [], "chosen": {}, "rejected": {}}),
])  # fmt: skip
def test_find_names_the_format_when_keys_are_close_to_another(name, row):
    assert find([row, row]) == name


@pytest.mark.parametrize("rows, problem", [
    ([{"query": "Hi", "reply": "Yo"}], "the keys query, reply fit no known format"),
    ([{"prompt": "Hi", "response": "Yo"}], "the keys prompt, response fit no known format"),
    ([{"messages": [ASK, SAY], "instruction": "Hi", "output": "Yo"}],
     "the keys messages, instruction, output fit several formats (messages, alpaca)"),
    ([{"text": "a"}, {"prompt": "b"}], "row 2 of those that can be read: looks like 'prompts' (keys prompt), "
                                       "the rows before it like 'text' (keys text)"),
    ([], "no row to tell the format by"),
])  # fmt: skip
def test_find_fails_when_rows_are_unclear(rows, problem):
    with pytest.raises(DataError) as caught:
        find(rows)
    assert caught.value.problem == problem
    if rows:
        assert all(f"{name}: {FORMATS[name].KEYS}" in caught.value.remedy for name in FORMATS)


@pytest.mark.parametrize("row, problem", [
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "oneOf": []}, "is a JSON Schema"),
    ({"id": 1, "annotations": [], "data": {}}, "is an export of Label Studio"),
    ({"id": "1", "fields": {}, "responses": {}, "suggestions": {}}, "is an export of Argilla"),
    ({"question_id": 81, "category": "writing", "turns": ["a", "b"]}, "holds evaluation questions of several"),
    ({"prompt": "Hi", "response": "Yo", "helpfulness": 3, "verbosity": 1}, "holds one rated answer a row"),
    ({"intents": {"greet": {}}, "slots": {}}, "is one JSON object of named descriptions"),
    ({"train": [["Hi", "greeting"]]}, "holds lists where a row's values are expected"),
])  # fmt: skip
def test_find_says_what_rows_are_when_their_layout_is_known_and_not_read(row, problem):
    with pytest.raises(DataError) as caught:
        find([row])
    assert caught.value.problem.startswith(problem) and caught.value.remedy


@pytest.mark.parametrize("row", [{"annotations": [], "data": {}}, {"fields": {}, "responses": {}, "suggestions": {}}])
def test_find_names_the_command_when_rows_are_annotators_work(row):
    with pytest.raises(DataError) as caught:
        find([row])
    assert "posttune collect import RECIPE FILE" in caught.value.remedy


@pytest.mark.parametrize("column", ["response", "answer", "completion_a", "response_1", "output_2", "summaries"])
def test_row_is_no_prompt_when_it_holds_an_answer_under_any_name(column):
    with pytest.raises(DataError, match="fit no known format"):
        find([{"prompt": "Hi", column: "Yo"}])


def test_named_suggests_the_nearest_format_when_it_is_unknown():
    with pytest.raises(DataError, match="unknown format 'sharegtp'") as caught:
        named("sharegtp")
    assert caught.value.remedy == "did you mean 'sharegpt'?"


def test_importing_formats_loads_nothing_heavy_when_only_imported():
    heavy = "{'torch', 'transformers', 'datasets', 'pyarrow', 'pandas', 'numpy'}"
    code = f"import sys, stages.formats; sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr == ""
