"""Near copies: the windows against plain Python, and the share of planted pairs that the bands bring together."""

from __future__ import annotations

import random

import pytest

from stages.audit.minhash import Index, Verifier, Windows, squeezed

TEXTS = [
    "Is it on its way, or not yet?",
    "IS IT on its way \u2014 or not yet",
    "short",
    "",
    "\u4f60\u597d\u4e16\u754c\uff0c\u4eca\u5929\u5929\u6c14\u5f88\u597d",
]


def plain(one: str, other: str) -> float:
    """Jaccard of the sets of 8-byte windows, slowly."""
    sets = [
        {text.ljust(8, b"\0")[i : i + 8] for i in range(max(1, len(text) - 7))} for text in map(squeezed, (one, other))
    ]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@pytest.mark.parametrize("one", TEXTS)
@pytest.mark.parametrize("other", [*TEXTS, "Is it on its way, or not now?"])
def test_similarity_is_that_of_plain_sets(one: str, other: str) -> None:
    assert Windows().similarity(squeezed(one), squeezed(other)) == pytest.approx(plain(one, other))


def test_similarity_is_none_when_numbers_differ() -> None:
    assert Windows().similarity(b"the sum of twelve and thirteen is 25", b"the sum of twelve and thirteen is 26") == 0


def test_planted_near_copies_come_together_when_they_are_above_the_threshold() -> None:
    chooser = random.Random(1)
    words = ["".join(chooser.choices("abcdefghijklmnopqrstuvwxyz", k=6)) for _ in range(3000)]
    texts = [chooser.choices(words, k=60) for _ in range(1500)]
    copies = [[*text[:30], chooser.choice(words), *text[31:58], *chooser.choices(words, k=2)] for text in texts[:200]]
    windows = Windows()
    index = Index(windows)
    every = [squeezed(" ".join(text)) for text in [*texts, *copies]]
    for name, text in enumerate(every):
        index.add(name, text)
    verifier = Verifier(index.pairs(), windows.similarity, 0.7)
    pairs = {(name, other) for name, text in enumerate(every) for other, _ in verifier.look(name, text)}
    alike = {(1500 + n, n) for n in range(200) if plain(" ".join(texts[n]), " ".join(copies[n])) >= 0.7}
    assert len(alike) > 150
    assert len(pairs & alike) >= 0.97 * len(alike)
    assert not pairs - {(1500 + n, n) for n in range(200)}
