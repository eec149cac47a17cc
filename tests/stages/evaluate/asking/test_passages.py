"""Documents cut into passages, and the passages a question is answered from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.contract import DataSource, Source
from stages.evaluate.asking.passages import MAX_WORDS, Library, cut
from stages.formats import Document, load

DATA = Path(os.environ.get("POSTTUNE_TEST_DATA", "/nowhere"))
LONG = " ".join(f"Sentence {i} has five words." for i in range(10))  # 50 words


def texts(text: str, max_words: int, title: str | None = None) -> list[str]:
    return [passage.text for passage in cut([Document("d", text, title)], max_words)]


def test_short_paragraphs_stand_together_up_to_the_limit() -> None:
    assert texts("one two\n\nthree four\n \n\nfive six", 4) == ["one two\n\nthree four", "five six"]


def test_text_within_the_limit_is_one_passage_as_it_stands() -> None:
    assert texts("one\ntwo\n", 200) == ["one\ntwo"]


def test_long_paragraph_is_cut_between_sentences() -> None:
    found = texts(LONG, 12)
    assert " ".join(found) == LONG and len(found) == 5
    assert all(part.endswith("words.") and len(part.split()) == 10 for part in found)


def test_sentence_over_the_limit_is_cut_between_words() -> None:
    found = texts("begin. " + " ".join(map(str, range(25))), 10)
    assert " ".join(found).split() == ["begin.", *map(str, range(25))]
    assert all(len(part.split()) <= 10 for part in found)


def test_heading_begins_a_passage_and_stays_with_its_text() -> None:
    text = "# Loans\n\n## How long\n\nFour weeks.\n\n## Fees\n\nNone."
    assert texts(text, 50) == ["# Loans\n\n## How long\n\nFour weeks.", "## Fees\n\nNone."]


def test_equal_texts_are_one_passage() -> None:
    found = cut([Document("a", "Same."), Document("b", "Same."), Document("c", "Same.", "Other title")])
    assert [(p.id, p.shown) for p in found] == [("a", "Same."), ("c", "Other title\nSame.")]


def test_only_passages_that_share_a_word_are_found_the_best_first() -> None:
    documents = [Document("a", "The lift is broken."), Document("b", "Tea."), Document("c", "A lift, a lift!", "Lift")]
    library = Library(documents)
    assert [p.id for p in library.find("Where is a lift?", 3)] == ["c", "a"]
    assert [p.id for p in library.find("Where is a lift?", 1)] == ["c"]


def test_title_is_searched_too() -> None:
    documents = [Document("a", "It is free.", "Parking"), Document("b", "It is free.", "Printing")]
    assert Library(documents).find("printing", 1)[0].id == "b"


@pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")
def test_paragraph_is_among_the_first_three_for_most_questions_of_xquad() -> None:
    def read(form: str, kind: str) -> tuple:  # type: ignore[type-arg]
        config = DataSource(path=str(DATA / "rag" / "xquad_en.json"), format=form)
        return load(Source("x", config), kind, "all").records  # type: ignore[arg-type]

    library = Library(read("squad_paragraphs", "document"))
    assert all(len(passage.text.split()) <= MAX_WORDS for passage in library.passages)
    home = {question.id: question.messages[0]["content"] for question in read("squad", "instruction")}
    questions = read("squad_questions", "prompt")
    assert len(questions) == 493
    hits = [any(passage.text in home[q.id] for passage in library.find(q.prompt[0]["content"], 3)) for q in questions]
    assert sum(hits) / len(hits) >= 0.97
