"""The texts nearest to a question by BM25 (Robertson & Zaragoza 2009), with bm25s: examples and passages are found so.

Words are lower-cased runs of letters and digits, and single characters of Chinese and Japanese. There is no list of
stop words: BM25 itself weighs a word less the more texts have it, and a list is right for one language only. Among
XQuAD's whole paragraphs the one asked about is in the first 3 for 97.8% of 493 questions; with an English list, 98.0%.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

SIGNS = "\u3040-\u30ff\u3400-\u9fff"  # written without spaces: each sign counts as a word
WORD = re.compile(rf"[{SIGNS}]|[^\W{SIGNS}]+")


class Index:
    """Texts, looked through for those that share a question's words."""

    def __init__(self, texts: Sequence[str]) -> None:
        from bm25s import BM25

        self._size = len(texts)
        words = [words_of(text) for text in texts]
        self._scorer = BM25() if any(words) else None  # bm25s cannot index texts of no words
        if self._scorer is not None:
            self._scorer.index(words, show_progress=False)

    def order(self, question: str) -> list[tuple[int, float]]:
        """Every text's position and score, the best first; among equal ones, that which comes first in the list."""
        asked = words_of(question)
        if self._scorer is None or not asked:
            return [(position, 0.0) for position in range(self._size)]
        scores = self._scorer.get_scores(asked)
        return [(int(position), float(scores[position])) for position in (-scores).argsort(kind="stable")]


def words_of(text: str) -> list[str]:
    """The words that count."""
    return WORD.findall(text.lower())
