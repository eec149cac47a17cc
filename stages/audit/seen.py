"""What the checks over all rows know: settings, and of every row its place, its side and hashes of what it says.

A check sees every row once and keeps hashes of it, names the rows that it must see again, looks at those, and ends.
So the texts of a million rows are never in memory together.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.contract import ModelConfig, Table
from stages.audit.ledger import Add, Finding, Place, Severity
from stages.audit.minhash import Pairs, Windows
from stages.audit.rows import Row, Spot

SIDES = ("train", "heldout", "against")


@dataclass(frozen=True)
class Settings:
    """What the checks go by."""

    max_lengths: dict[str, int]  # source -> tokens
    threshold: float = 0.7
    model: ModelConfig | None = None  # whose tokenizer counts
    seed: int = 17
    kinds: Mapping[str, Collection[str]] = field(default_factory=dict)  # source -> of the records it is read as


@dataclass
class Seen:
    """What every whole check may know of every row, by index."""

    settings: Settings
    windows: Windows
    sources: Sequence[str]  # the names, in their order; one that comes twice is there twice
    files: list[str] = field(default_factory=list)
    _file: array[int] = field(default_factory=lambda: array("I"))
    _source: array[int] = field(default_factory=lambda: array("I"))
    _number: array[int] = field(default_factory=lambda: array("L"))
    _side: array[int] = field(default_factory=lambda: array("B"))
    _prompt: array[int] = field(default_factory=lambda: array("Q"))
    _content: array[int] = field(default_factory=lambda: array("Q"))
    _texts: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, row: Row) -> None:
        """Rows come in the order of their index."""
        if not self.files or self.files[-1] != row.file:  # the rows of a file come together
            self.files.append(row.file)
        self._file.append(len(self.files) - 1)
        self._source.append(row.turn)
        self._number.append(row.number)
        self._side.append(SIDES.index(row.side))
        self._prompt.append(row.prompt_key)
        self._content.append(row.content_key)
        self._texts.append(row.texts_key)

    def __len__(self) -> int:
        return len(self._number)

    def place(self, index: int) -> Place:
        return self.files[self._file[index]], self._number[index]

    def spot(self, index: int) -> Spot:
        return self._source[index], *self.place(index)

    def source(self, index: int) -> str:
        return self.sources[self._source[index]]

    def side(self, index: int) -> str:
        return SIDES[self._side[index]]

    @property
    def sides(self) -> NDArray[np.uint8]:
        return np.frombuffer(self._side, dtype=np.uint8)

    @property
    def source_numbers(self) -> NDArray[np.uint32]:
        """Of each row its place in `sources`."""
        return np.frombuffer(self._source, dtype=np.uint32)

    @property
    def prompts(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._prompt, dtype=np.uint64)

    @property
    def contents(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._content, dtype=np.uint64)

    @property
    def texts(self) -> NDArray[np.uint64]:
        return np.frombuffer(self._texts, dtype=np.uint64)

    def finding(
        self, severity: Severity, check: str, index: int, related: Sequence[int], message: str, field: str = ""
    ) -> Finding:
        """A finding in the row at `index`."""
        file, number = self.place(index)
        places = tuple(self.place(other) for other in related)
        return Finding(severity, check, self.source(index), message, file, number, field, places)

    def copies(self) -> dict[int, int]:
        """Later copies of audited rows, with the first row of the same content."""
        own = np.flatnonzero(self.sides != SIDES.index("against"))
        _, first, which = np.unique(self.contents[own], return_index=True, return_inverse=True)
        firsts = own[first][which]
        found = zip(own[own != firsts].tolist(), firsts[own != firsts].tolist(), strict=True)
        return {i: j for i, j in found if not self.in_one_row(i, j)}

    def in_one_row(self, index: int, other: int) -> bool:
        """Whether two records were made of one row, as of a tree: what they share is not repeated."""
        return self.place(index) == self.place(other)

    def apart(self, pairs: Pairs, keys: NDArray[np.uint64]) -> Pairs:
        """Those pairs of records that have unequal keys and are of two rows."""
        return [(i, j) for i, j in pairs if keys[i] != keys[j] and not self.in_one_row(i, j)]


class SourceCheck:
    """A check of what a source is as a whole, which keeps only figures of its rows."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def see(self, row: Row) -> None:
        """Every row to look at."""

    def end(self, add: Add) -> list[Table]:
        """After the last row: what there is to say, and the tables of the report."""
        return []


class Check:
    """A check of rows against each other; each step may be left as it is."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen

    def see(self, row: Row) -> None:
        """Every row, in the order of the sources; those to hold the others against come last."""

    def again(self) -> Collection[int]:
        """After the last row: the indices of those to look at again."""
        return ()

    def look(self, row: Row, add: Add) -> None:
        """Every row that any check wanted again, in the same order."""

    def end(self, add: Add) -> list[Table]:
        """After the last look: what remains to be said, and the tables of the report."""
        return []
