"""The nearest texts by BM25."""

from __future__ import annotations

import math

import pytest

from stages.evaluate.asking.search import Index, words_of

TEXTS = ["a cat sat", "a dog sat on a mat with a cat", "birds sing in the morning", "a cat, a cat and a cat"]


def by_hand(question: str, texts: list[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25: the idf is ln(1 + (N - n + 0.5) / (n + 0.5)), and the numerator has no k1 + 1."""
    bags = [text.replace(",", "").split() for text in texts]
    mean = sum(map(len, bags)) / len(bags)
    scores = []
    for bag in bags:
        score = 0.0
        for word in question.split():
            holding, times = sum(word in other for other in bags), bag.count(word)
            idf = math.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
            score += idf * times / (times + k1 * (1 - b + b * len(bag) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("question", ["cat", "dog cat", "where does a bird sing"])
def test_scores_equal_the_formula_by_hand(question: str) -> None:
    scores = dict(Index(TEXTS).order(question))
    assert [scores[i] for i in range(4)] == pytest.approx(by_hand(question, TEXTS), abs=1e-6)


def test_the_nearest_text_comes_first() -> None:
    order = [position for position, _ in Index(TEXTS).order("Does a DOG sit on the mat?")]
    assert order[0] == 1 and sorted(order) == [0, 1, 2, 3]


def test_equal_scores_keep_the_order_of_the_list() -> None:
    same = ["one thing", "another matter", "one thing", "one thing"]
    assert [position for position, _ in Index(same).order("one thing")] == [0, 2, 3, 1]


@pytest.mark.parametrize("question", ["", "?!", "zebra"])
def test_nothing_is_near_when_no_word_is_shared(question: str) -> None:
    assert Index(TEXTS).order(question) == [(i, 0.0) for i in range(4)]


@pytest.mark.parametrize("texts", [[], ["", "..."]])
def test_texts_without_words_can_be_asked(texts: list[str]) -> None:
    assert Index(texts).order("cat") == [(i, 0.0) for i in range(len(texts))]


def test_signs_written_without_spaces_are_words() -> None:
    assert words_of("図書館は Room_7 で") == ["図", "書", "館", "は", "room_7", "で"]
    assert Index(["図書館は何時に開きますか", "今日は雨です"]).order("図書館")[0][0] == 0
