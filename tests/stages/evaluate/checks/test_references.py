"""Answers against reference texts. The figures are worked by hand from SQuAD's definitions and ROUGE-L's."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.contract import TaskConfig
from stages.evaluate.checks.references import last_number, normalised, word_f1
from stages.evaluate.checks.task import check_answer

TEXTS = TaskConfig(checks=("exact", "f1", "rouge"))


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The  Saxon-Garden!", "saxongarden"),
        ("An apple, a pear and the plum.", "apple pear and plum"),
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("  \n ", ""),
        ("The", ""),
    ],
)
def test_text_is_normalised_as_squad_does(text: str, plain: str) -> None:
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("given", "wanted", "f1"),
    [
        ("the Saxon Garden", "Saxon Garden", 1),
        ("in the Saxon Garden", "Saxon Garden", 2 * (2 / 3) * 1 / (2 / 3 + 1)),  # precision 2/3, recall 1
        ("garden garden garden", "garden", 2 * (1 / 3) * 1 / (1 / 3 + 1)),  # a word counts as often as both have it
        ("a b c d", "c d e f g", 2 * (2 / 3) * (2 / 5) / (2 / 3 + 2 / 5)),  # "a" is an article
        ("Warsaw", "Paris", 0),
        ("", "", 1),
        ("the", "", 1),
        ("", "Warsaw", 0),
        ("Warsaw", "the", 0),
    ],
)
def test_word_f1_is_squads(given: str, wanted: str, f1: float) -> None:
    assert word_f1(given, wanted) == pytest.approx(f1)


def test_rouge_is_the_f_measure_of_the_longest_common_subsequence() -> None:
    found = check_answer("police kill the gunman", "police killed the gunman", TEXTS)
    assert found["rouge"] == pytest.approx(3 / 4)  # Lin 2004, section 3.1: "police the gunman", 3 of 4 words each
    assert check_answer("the gunman police", "police the gunman", TEXTS)["rouge"] == pytest.approx(2 / 3)


def test_best_of_several_references_counts() -> None:
    found = check_answer("Warsaw city", ["Paris", "city of Warsaw", "the Warsaw City"], TEXTS)
    assert found == {"exact": 1, "f1": 1, "rouge": pytest.approx(2 * (2 / 2) * (2 / 3) / (2 / 2 + 2 / 3))}


@pytest.mark.parametrize("reference", [None, {"answer": "x"}, [], [["x"]], True])
def test_reference_that_is_no_text_gives_no_figure(reference: Any) -> None:
    assert check_answer("x", reference, TEXTS) == {}


def test_number_as_reference_counts_as_its_text() -> None:
    assert check_answer("7", 7, TEXTS)["exact"] == 1
    assert check_answer("It is 7.", [5, 7], TaskConfig(checks=("number",))) == {"number_right": 1}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9 * 2 = 18\n#### 1,018", 1018),
        ("-3.50 left", -3.5),
        ("none", None),
        ("", None),
        ("5 of 7.", 7),
        ("10-20", 20),
        ("9 - 4 = 5-ish", 5),
        ("it fell to \u22123", -3),
        ("$-4", -4),
    ],
)
def test_last_number_is_read(text: str, number: float | None) -> None:
    assert last_number(text) == number
