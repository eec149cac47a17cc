"""Copies, exact and near, among the rows, across the split, and of rows that they are held against."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

import numpy as np

from pipeline.contract import Table
from stages.audit import parts
from stages.audit.ledger import Add
from stages.audit.minhash import Index, Verifier, squeezed
from stages.audit.rows import Row
from stages.audit.seen import SIDES, Check, Seen


class ExactDuplicates(Check):
    """Rows that say the same as an earlier one, whatever the order of their completions."""

    def end(self, add: Add) -> list[Table]:
        for index, first in self.seen.copies().items():
            add(self.seen.finding("warning", "exact_duplicate", index, [first], "is a copy of an earlier row"))
        return []


class NearDuplicates(Check):
    """Rows that differ from an earlier one in a few words, in case, white space or punctuation.

    The prompt must be near, and so must each answer, by itself: another question on one long passage is no copy, nor
    is another answer to one prompt. Nor is another preference among the same answers.
    """

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._index = Index(seen.windows)

    def see(self, row: Row) -> None:
        if row.side != "against":
            self._index.add(row.index, row_text(row))

    def again(self) -> Collection[int]:
        copies = self.seen.copies()
        # Equal texts with other ranks are a contradiction, or another annotator's opinion.
        pairs = self.seen.apart(self._index.pairs(), self.seen.texts)
        pairs = [(i, j) for i, j in pairs if i not in copies and j not in copies]
        similarity = partial(parts.similarity, self.seen.windows, self.seen.settings.threshold)
        self._verifier = Verifier(pairs, similarity, self.seen.settings.threshold)
        self._index = Index(self.seen.windows)  # the bands are not needed any more
        return self._verifier.wanted

    def look(self, row: Row, add: Add) -> None:
        if row.index not in self._verifier.wanted:
            return
        for other, similarity in self._verifier.look(row.index, parts.of(row)):
            split = ", and lies on the other side of the split" if self.seen.side(other) != row.side else ""
            message = f"is nearly a copy of an earlier row (similarity {similarity:.2f}){split}"
            add(self.seen.finding("warning", "near_duplicate", row.index, [other], message))


class Leakage(Check):
    """Prompts that the training side shares, or nearly, with the held-out side or with the sources to hold against.

    Equal prompts of the audited sources lie on one side of the split by its making; near ones may not.
    """

    def __init__(self, seen: Seen) -> None:
        super().__init__(seen)
        self._index = Index(seen.windows)
        self._prompts: dict[str, set[int]] = {side: set() for side in SIDES}

    def see(self, row: Row) -> None:
        if row.prompt_key not in self._prompts[row.side] and row.asked.strip():
            self._prompts[row.side].add(row.prompt_key)
            self._index.add(row.index, squeezed(row.asked))

    def again(self) -> Collection[int]:
        sides = self.seen.sides
        self._prompts = {}
        self._equal = self._equal_prompts()
        pairs = self.seen.apart(self._index.pairs(lambda names: sides[names].astype(np.int64)), self.seen.prompts)
        threshold = self.seen.settings.threshold
        self._verifier = Verifier(pairs, self.seen.windows.similarity, threshold, all_of_them=True)
        self._index = Index(self.seen.windows)
        return self._verifier.wanted

    def look(self, row: Row, add: Add) -> None:
        if row.index not in self._verifier.wanted:
            return
        for other, similarity in self._verifier.look(row.index, squeezed(row.asked)):
            sides = {self.seen.side(row.index): row.index, self.seen.side(other): other}
            inner, outer = ("train", "heldout") if "against" not in sides else (min(sides, key=_rank), "against")
            where = f"source '{self.seen.source(sides[outer])}'" if outer == "against" else "the held-out side"
            message = f"its prompt is nearly that of a row of {where} (similarity {similarity:.2f})"
            add(self.seen.finding("warning", "near_leak", sides[inner], [sides[outer]], message))

    def end(self, add: Add) -> list[Table]:
        for index, other in self._equal.items():
            message = f"its prompt is also in source '{self.seen.source(other)}'"
            add(self.seen.finding("error", "leak", index, [other], message))
        return []

    def _equal_prompts(self) -> dict[int, int]:
        """Audited rows whose prompt a source to hold against has, too, with its first row there."""
        against = self.seen.sides == SIDES.index("against")
        theirs, first = np.unique(self.seen.prompts[against], return_index=True)
        places = np.flatnonzero(against)[first]
        if not len(theirs):
            return {}
        own = np.flatnonzero(~against & (self.seen.prompts != 0))
        at = np.minimum(np.searchsorted(theirs, self.seen.prompts[own]), len(theirs) - 1)
        equal = theirs[at] == self.seen.prompts[own]
        return dict(zip(own[equal].tolist(), places[at[equal]].tolist(), strict=True))


def _rank(side: str) -> int:
    return SIDES.index(side)


def row_text(row: Row) -> bytes:
    """By what near copies are proposed: the prompt but for the system's turn, and the answers in a fixed order."""
    return squeezed(
        row.asked
        + "".join(sorted(text for _, text in row.answers) or [text for _, text in row.fields if not row.prompt])
    )
