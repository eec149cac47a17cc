"""Documents cut into passages that fit into a prompt, and those among them that a question is answered from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stages.evaluate.asking.search import Index
from stages.formats.records import Document

MAX_WORDS = 200  # about 270 tokens of English: three of them leave room for a question in 1,024
PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
SENTENCE = re.compile(r"(?<=[.!?])\s+")
HEADING = re.compile(r"#{1,6} ")


@dataclass(frozen=True)
class Passage:
    """A part of the document called `id`."""

    id: str
    text: str
    title: str | None = None

    @property
    def shown(self) -> str:
        """As it stands in a prompt, and as it is searched: the document's title above its text."""
        return f"{self.title}\n{self.text}" if self.title else self.text


class Library:
    """Passages, and a search among them."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.passages = cut(documents)
        self._index = Index([passage.shown for passage in self.passages])

    def find(self, question: str, count: int) -> list[Passage]:
        """The `count` passages nearest to the question, the best first; none that shares no word with it."""
        return [self.passages[at] for at, score in self._index.order(question)[:count] if score > 0]


def cut(documents: Sequence[Document], max_words: int = MAX_WORDS) -> list[Passage]:
    """Passages in the order of the documents, each text once.

    Whole paragraphs are put together up to `max_words`, a Markdown heading beginning a new passage; a longer paragraph
    is cut between sentences, and a longer sentence between words.
    """
    found: dict[tuple[str | None, str], Passage] = {}
    for document in documents:
        for text in _together(_pieces(document.text, max_words), max_words):
            found.setdefault((document.title, text), Passage(document.id, text, document.title))
    return list(found.values())


def _pieces(text: str, max_words: int) -> Iterator[tuple[str, str]]:
    """The text in pieces of at most `max_words`, each with what stands between it and the one before."""
    for paragraph in PARAGRAPH.split(text.strip()):
        joint = "\n\n"
        sentences = [paragraph] if _size(paragraph) <= max_words else SENTENCE.split(paragraph)
        for sentence in sentences:
            words = sentence.split()
            if len(words) <= max_words:
                yield joint, sentence
            else:
                for start in range(0, len(words), max_words):
                    yield joint if start == 0 else " ", " ".join(words[start : start + max_words])
            joint = " "


def _together(pieces: Iterator[tuple[str, str]], max_words: int) -> Iterator[str]:
    held = ""
    for joint, piece in pieces:
        begins = bool(HEADING.match(piece)) and not _only_headings(held)
        if held and (begins or _size(held) + _size(piece) > max_words):
            yield held
            held = piece
        else:
            held = held + joint + piece if held else piece
    if held:
        yield held


def _only_headings(text: str) -> bool:
    return all(HEADING.match(line) for line in text.splitlines() if line.strip())


def _size(text: str) -> int:
    return len(text.split())
