"""Checks over all rows: copies, contradictions, rings, leaks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from audited import chat, findings, found, ranked, source

from pipeline.contract import DataSource, Source, TaskConfig
from stages.audit.audit import audit
from stages.audit.seen import Settings

STORY = (
    "The lighthouse keeper counted the ships that passed each night and wrote their names in a ledger bound in blue."
)
TALE = "Two brothers sailed north with a cargo of oranges, and came home in spring with nothing but songs to sell."


def test_copy_is_found_when_its_completions_are_listed_in_another_order(tmp_path: Path) -> None:
    rows = [ranked("Which?", ["one", "two", "three"], [1, 2, 3]), ranked("Which?", ["three", "one", "two"], [3, 1, 2])]
    assert found(tmp_path, rows) == {("exact_duplicate", 2, (1,))}


def test_equal_rankings_of_two_annotators_are_no_copies(tmp_path: Path) -> None:
    rows = [ranked("Which?", ["one", "two"], [1, 2], name) for name in ("ann", "bob")]
    assert found(tmp_path, rows) == set()


def test_near_copy_is_found_when_a_word_or_the_punctuation_differs(tmp_path: Path) -> None:
    rows = [chat("Tell a story.", STORY), chat("Tell a tale.", TALE), chat("tell a  story!", STORY),
            chat("Tell a story.", STORY.replace("blue", "green"))]  # fmt: skip
    assert {(check, row) for check, row, _ in found(tmp_path, rows)} == {
        ("near_duplicate", 3), ("near_duplicate", 4), ("other_answer", 4)}  # fmt: skip


def near(folder: Path, rows: list[dict[str, Any]]) -> set[int | None]:
    return {row for check, row, _ in found(folder, rows) if check == "near_duplicate"}


def test_questions_on_one_long_passage_are_no_near_copies(tmp_path: Path) -> None:
    asked = {"Who counted the ships?": "It was the keeper of the lighthouse.", "What was sold?": "Nothing but songs."}
    assert near(tmp_path, [chat(f"{STORY} {TALE} {question}", answer) for question, answer in asked.items()]) == set()


def test_replies_to_one_long_prompt_are_no_near_copies(tmp_path: Path) -> None:
    asked, shared = f"{STORY} {TALE}", "A good story, and well told from its beginning to its end."
    replies = ["I like the part about the oranges most.", "What did the keeper do on Sundays, then?"]
    assert near(tmp_path, [chat(asked, reply) for reply in replies]) == set()
    assert near(tmp_path, [ranked(asked, [shared, reply], [1, 2]) for reply in replies]) == set()


def test_near_copy_of_a_comparison_is_found_when_its_answers_are_listed_in_another_order(tmp_path: Path) -> None:
    rows = [ranked("Which?", [STORY, TALE], [1, 2]), ranked("which", [TALE, STORY.replace("blue", "green")], [2, 1])]
    assert near(tmp_path, rows) == {2}


def test_rows_are_no_near_copies_when_another_answer_is_preferred(tmp_path: Path) -> None:
    changed = [STORY.replace("blue", "green"), TALE]
    assert near(tmp_path, [ranked("Which?", [STORY, TALE], [1, 2]), ranked("which", changed, [2, 1])]) == set()
    assert near(tmp_path, [ranked("Which?", [STORY, TALE], [1, 2]), ranked("which", changed, [1, 2], "bob")]) == set()
    thumbs = [{"prompt": "Which?", "completion": STORY, "label": True}]
    thumbs += [{"prompt": "which", "completion": changed[0], "label": False}]
    assert near(tmp_path, thumbs) == set()


def test_rows_are_no_near_copies_when_their_numbers_differ(tmp_path: Path) -> None:
    rows = [chat(f"How many letters does the keeper of house {n} send in one whole year?", "Fifty.") for n in (12, 13)]
    assert found(tmp_path, rows) == set()


def test_instruction_that_every_row_repeats_makes_no_near_copies(tmp_path: Path) -> None:
    asked = "Classify the message of the customer below by what it is about, and answer with one word: "
    topics = ["my order", "a refund", "the hours", "an invoice", "a login", "the fees", "a parcel", "the app", "a card",
              "my name", "the shop", "an exchange", "a voucher"]  # fmt: skip
    assert found(tmp_path, [chat(asked + topic, "other") for topic in topics]) == set()


def test_answers_contradict_each_other_when_they_are_labels_or_end_in_other_numbers(tmp_path: Path) -> None:
    rows = [chat("Card lost", "lost_card"), chat("How many?", "2 + 2\nA: 4"), chat("card  lost", "fees"),
            chat("How many?", "2 * 3\nA: 6"), chat("Greet me.", "Good morning to you, and welcome here."),
            chat("Greet me.", "Hello there! What can I do for you today?")]  # fmt: skip
    assert found(tmp_path, rows) == {("contradiction", 3, (1,)), ("contradiction", 4, (2,)), ("other_answer", 6, (5,))}


def test_json_answers_contradict_each_other_by_their_labels_alone(tmp_path: Path) -> None:
    task = TaskConfig(labels={"topic": ("order", "fees")})
    rows = [chat("Hi", '{"topic": "order", "reply": "Good day."}'), chat("Hi", '{"topic": "order", "reply": "Hello!"}'),
            chat("Hi", '{"topic": "fees", "reply": "Good day."}')]  # fmt: skip
    assert ("contradiction", 3, (1,)) in (told := found(tmp_path, rows, task=task))
    assert not any(check == "contradiction" and row == 2 for check, row, _ in told)


def test_labels_of_a_set_contradict_each_other_however_they_are_written(tmp_path: Path) -> None:
    task = TaskConfig(label_set=("the card has been lost, or stolen, or so", "fees"))
    rows = [chat("Hi", "The card has been lost, or stolen, or so."), chat("Hi", '"fees"'), chat("Hi", "Fees")]
    told = {(check, row) for check, row, _ in found(tmp_path, rows[:2], task=task)}
    assert ("contradiction", 2) in told
    assert not any(check == "contradiction" for check, *_ in found(tmp_path, rows[1:], task=task))


def test_pair_and_its_reverse_contradict_each_other_when_one_annotator_gave_both(tmp_path: Path) -> None:
    rows = [ranked("Which?", ["one", "two"], [1, 2], name) for name in ("ann", "bob")]
    rows += [ranked("Which?", ["one", "two"], [2, 1], "ann")]
    assert found(tmp_path, rows) == {("contradiction", 3, (1,))}


def test_ring_is_found_in_one_annotators_rankings(tmp_path: Path) -> None:
    pairs = [("one", "two"), ("two", "three"), ("three", "one")]
    rows = [{"prompt": "Which?", "chosen": better, "rejected": worse} for better, worse in pairs]
    assert found(tmp_path, rows) == {("preference_cycle", 3, (1, 2))}
    rows = [{**row, "annotator": name} for row, name in zip(rows, ("ann", "bob", "cy"), strict=True)]
    assert found(tmp_path, rows) == set()


def test_whole_order_turned_round_by_another_annotator_is_found(tmp_path: Path) -> None:
    answers = ["one", "two", "three", "four"]
    rows = [ranked("Which?", answers, [1, 2, 3, 4], "ann"), ranked("Which?", answers, [4, 3, 2, 1], "bob")]
    assert found(tmp_path, rows) == {("opposite_ranking", 2, (1,))}


def test_prompt_of_a_test_set_is_found_in_the_rows(tmp_path: Path) -> None:
    asked = (
        "Why does the keeper of the lighthouse count the ships that pass in the night, and what does he write of them?"
    )
    rows = [
        chat("Where?", "Here."),
        chat(asked, "He is bored."),
        chat(asked.replace("ships", "boats"), "Nobody knows."),
    ]
    assert found(tmp_path, rows, [{"prompt": asked.upper()}]) == {("leak", 2, (1,)), ("near_leak", 3, (1,))}


def test_near_prompts_are_found_when_they_lie_on_both_sides_of_the_split(tmp_path: Path) -> None:
    asked = "Why does the keeper of the lighthouse count the ships that pass in the night"
    rows = [chat(asked + end, f"Because {place} of it.") for place, end in enumerate("?!.;:,-'")]
    told = found(tmp_path, rows, split=None)  # by hash some of eight prompts are held out
    assert any(check == "near_leak" for check, _, _ in told)
    assert not any(check == "near_leak" for check, _, _ in found(tmp_path, rows))


def test_empty_line_is_noted_at_its_number(tmp_path: Path) -> None:
    assert found(tmp_path, b'{"text": "One."}\n\n{"text": "Two."}\n') == {("blank_line", 2, ())}


def test_rows_are_told_of_in_each_source_when_two_read_one_file(tmp_path: Path) -> None:
    given = source(tmp_path / "rows.jsonl", [chat("Card lost", "lost_card"), chat("card lost", "fees")])
    both = [(replace(given, name=name), False) for name in ("one", "other")]
    audited = audit(both, Settings({}), tmp_path, skip=["languages"], say=lambda line: None)
    told = {(one["check"], one["source"], one["row"]) for one in findings(audited)}
    assert told >= {("contradiction", "one", 2), ("contradiction", "other", 2)}


def test_findings_are_left_out_by_their_own_names(tmp_path: Path) -> None:
    given = source(tmp_path / "rows.jsonl", [chat("Card lost", "fees"), chat("Card lost", "fees"), chat("Hi", "fees ")])
    test = source(tmp_path / "test.jsonl", [{"prompt": "Hi"}])
    skip = ["exact_duplicate", "languages"]
    audited = audit([(given, False), (test, True)], Settings({}), tmp_path, skip=skip, say=lambda line: None)
    assert [(one["check"], one["row"]) for one in findings(audited)] == [("leak", 3)]


def test_files_of_several_formats_in_one_source_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source(tmp_path / "in" / "a.jsonl", [chat("Where?", "Here it is.")])
    source(tmp_path / "in" / "b.jsonl", [{"prompt": "Who?", "completion": "Nobody knows."}])
    given = Source("both", DataSource(path=str(tmp_path / "in"), split="all"))
    audited = audit([(given, False)], Settings({}), tmp_path, skip=["languages"], say=lambda line: None)
    told = [(one["check"], one["severity"], one["message"]) for one in findings(audited)]
    assert told == [("schema", "error", "its files are in several formats: messages, prompt_completion")]


@pytest.mark.parametrize(("kind", "refused"), [("instruction", False), ("prompt", False), ("comparison", True)])
def test_records_of_a_kind_that_no_reader_takes_are_an_error(tmp_path: Path, kind: str, refused: bool) -> None:
    given = source(tmp_path / "rows.jsonl", [{"instruction": "Where?", "output": "Here it is."}])
    settings = Settings({}, kinds={"rows": [kind]})
    audited = audit([(given, False)], settings, tmp_path, skip=["languages"], say=lambda line: None)
    assert [one["check"] for one in findings(audited)] == ["schema"] * refused
