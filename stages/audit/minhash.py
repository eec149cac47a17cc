"""Near copies among many texts: MinHash signatures (Broder 1997) through rensa, banded, and the exact figure after.

A text counts as its windows of 8 bytes once case, white space and punctuation are gone, so that the same holds for
Chinese as for English. Windows that more than a twentieth of the first rows share (an instruction that every row
repeats) do not count. Two texts are near copies when the Jaccard similarity of their windows reaches the threshold and
they hold the same numbers. Candidates share one of 25 bands of 5 slots: a pair at 0.7 is missed once in 100 times, one
at 0.8 once in 30,000. The similarity of every candidate is then worked out exactly from the texts.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from stages.audit.rows import TYPOGRAPHIC

WIDTH = 8  # bytes of a window: one 64-bit word
BANDS, SLOTS = 25, 5
BATCH = 1000  # texts hashed together
SHARED, MIN_SHARED = 0.05, 10  # of the first rows, and rows: a window found in more of them is boilerplate
TABLE_BITS = 18
LOWER = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))
DROPPED = b" \t\r\n\x0b\x0c.,;:!?'\"()[]{}_`#|~-"
# Typographic signs as plain ones; white space beyond ASCII, as a word processor writes it, dropped.
SPACES = (0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
SPELLINGS = TYPOGRAPHIC | dict.fromkeys(SPACES)
NUMBER = re.compile(rb"\d+")
MIX = np.uint64(0x9E3779B97F4A7C15)
Pairs = list[tuple[int, int]]


def squeezed(text: str) -> bytes:
    """The text without case, white space and punctuation."""
    if not text.isascii():
        text = text.translate(SPELLINGS).lower()
    return text.encode("utf-8", "surrogatepass").translate(LOWER, DROPPED)


class Windows:
    """Texts as sets of hashed windows, without those that most rows share."""

    def __init__(self, sample: Sequence[bytes] = ()) -> None:
        """Learn from `sample`, the first rows of the sources, which windows are boilerplate."""
        self._shared = np.zeros(2**TABLE_BITS, dtype=bool)
        sets = [np.unique(_hashes([text])[0]) for text in set(sample)]
        if sets:
            found, counts = np.unique(np.concatenate(sets), return_counts=True)
            self._shared[_slot(found[counts > max(MIN_SHARED, SHARED * len(sets))])] = True
        self._any = bool(self._shared.any())

    def of(self, texts: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """The windows of all texts one after the other, and where each text's begin; one more offset is the end."""
        hashes, offsets = _hashes(texts)
        if not self._any:
            return hashes, offsets.astype(np.uint64)
        kept = ~self._shared[_slot(hashes)]
        before = np.concatenate([[0], np.cumsum(kept)])
        return hashes[kept], before[offsets].astype(np.uint64)

    def similarity(self, one: bytes, other: bytes) -> float:
        """Jaccard of the two texts' windows; 0 where a text holds other numbers, or nothing but boilerplate."""
        if NUMBER.findall(one) != NUMBER.findall(other):
            return 0.0
        if one == other:
            return 1.0
        a, b = (np.unique(self.of([text])[0]) for text in (one, other))
        both = len(np.intersect1d(a, b, assume_unique=True))
        return both / (len(a) + len(b) - both) if len(a) and len(b) else 0.0


def _hashes(texts: Sequence[bytes]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A text shorter than a window is filled up with zeros to be one."""
    padded = [text if len(text) >= WIDTH else text.ljust(WIDTH, b"\0") for text in texts]
    buffer = np.frombuffer(b"".join(padded) + bytes(WIDTH), dtype=np.uint8)
    ends = np.cumsum([len(text) for text in padded])
    words = np.ndarray((ends[-1],), dtype="<u8", buffer=buffer, strides=(1,))  # one window a byte
    inside = np.ones(len(words), dtype=bool)
    for step in range(1, WIDTH):  # a window must not run on into the next text
        inside[ends - step] = False
    before = np.concatenate([[0], np.cumsum(inside)])
    hashes = words[inside].astype(np.uint64) * MIX
    return hashes ^ (hashes >> np.uint64(29)), before[np.concatenate([[0], ends])]


def _slot(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (hashes & np.uint64(2**TABLE_BITS - 1)).astype(np.int64)


class Index:
    """The bands of many texts, 100 bytes each, in the order in which they came."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows
        self._waiting: list[bytes] = []
        self._bands: list[NDArray[np.uint32]] = []
        self.names = array("Q")  # what the caller calls each text

    def add(self, name: int, text: bytes) -> None:
        """Take a text in; texts are hashed in batches."""
        self.names.append(name)
        self._waiting.append(text)
        if len(self._waiting) == BATCH:
            self._hash()

    def pairs(self, group: Callable[[NDArray[np.uint64]], NDArray[np.int64]] | None = None) -> Pairs:
        """Candidates (later, earlier) by name, each text with the first and the last one before it in its buckets.

        With `group`, which gives each name a number, only texts of unequal numbers are paired.
        """
        self._hash()
        if not self._bands:
            return []
        bands = np.concatenate(self._bands)
        names = np.frombuffer(self.names, dtype=np.uint64)
        numbers = np.zeros(len(names), dtype=np.int64) if group is None else group(names)
        found = np.unique(
            np.concatenate([_bucket_pairs(bands[:, b], numbers, group is not None) for b in range(BANDS)])
        )
        later, earlier = np.divmod(found, np.uint64(len(names)))
        return list(zip(names[later].tolist(), names[earlier].tolist(), strict=True))

    def _hash(self) -> None:
        if not self._waiting:
            return
        from rensa import RMinHash

        hashes, offsets = self._windows.of(self._waiting)
        matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, BANDS * SLOTS, 7)
        slots = np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(self._waiting), BANDS, SLOTS)
        bands = np.zeros(slots.shape[:2], dtype=np.uint64)
        for slot in range(SLOTS):
            bands = (bands ^ slots[:, :, slot]) * MIX
            bands ^= bands >> np.uint64(32)
        empty = np.diff(offsets) == 0  # nothing but boilerplate: in a bucket of its own
        bands[empty] = np.arange(len(self.names), len(self.names) + empty.sum(), dtype=np.uint64)[:, None] * MIX
        self._bands.append(bands.astype(np.uint32))
        self._waiting = []


def _bucket_pairs(band: NDArray[np.uint32], numbers: NDArray[np.int64], across: bool) -> NDArray[np.uint64]:
    """Encoded later * count + earlier: of every text with the first, and with the one before it, in its bucket."""
    count = len(band)
    order = np.argsort(band, kind="stable")
    values = band[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    sizes = np.diff(np.concatenate([starts, [count]]))
    position = np.arange(count) - np.repeat(starts, sizes)
    first = np.repeat(order[starts], sizes)
    partners = [first, np.concatenate([order[:1], order[:-1]])]
    if across:
        partners += [_first_of_others(order, numbers, starts, sizes)]
    found = []
    for partner in partners:
        keep = (position > 0) if not across else (partner >= 0) & (numbers[order] != numbers[partner])
        if across and partner is partners[1]:
            keep &= position > 0
        one, other = order[keep], partner[keep]
        found.append(
            np.maximum(one, other).astype(np.uint64) * np.uint64(count) + np.minimum(one, other).astype(np.uint64)
        )
    return np.unique(np.concatenate(found))


def _first_of_others(
    order: NDArray[np.int64], numbers: NDArray[np.int64], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each text the first one in its bucket that has not the number of the bucket's first; -1 where all have it."""
    differs = numbers[order] != np.repeat(numbers[order[starts]], sizes)
    places = np.where(differs, np.arange(len(order)), len(order))
    nearest = np.minimum.reduceat(places, starts)
    there = np.repeat(nearest, sizes)
    return np.where(there < len(order), order[np.minimum(there, len(order) - 1)], -1)


Held = TypeVar("Held")


class Verifier(Generic[Held]):
    """Takes what candidate pairs are compared by, in their order, and tells which pairs are near copies indeed.

    It is kept only while a pair still needs it.
    """

    def __init__(
        self, pairs: Pairs, similarity: Callable[[Held, Held], float], threshold: float, *, all_of_them: bool = False
    ) -> None:
        self._similarity, self._threshold, self._all = similarity, threshold, all_of_them
        self._partners: dict[int, list[int]] = defaultdict(list)
        self._needed: dict[int, int] = defaultdict(int)
        self._held: dict[int, Held] = {}
        for later, earlier in pairs:
            self._partners[later].append(earlier)
            self._needed[earlier] += 1
        self.wanted = self._partners.keys() | self._needed.keys()

    def look(self, name: int, held: Held) -> list[tuple[int, float]]:
        """The earlier ones, one or all, that this one is a near copy of, with their similarity."""
        found: list[tuple[int, float]] = []
        for earlier in self._partners.pop(name, ()):
            if self._all or not found:
                similarity = self._similarity(held, self._held[earlier])
                if similarity >= self._threshold:
                    found.append((earlier, similarity))
            self._needed[earlier] -= 1
            if not self._needed[earlier]:
                del self._held[earlier]
        if self._needed.get(name):
            self._held[name] = held
        return found
