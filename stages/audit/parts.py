"""A row in the parts that tell whether it is a near copy: its prompt, its answers and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stages.audit.minhash import Windows, squeezed
from stages.audit.rows import Row
from stages.formats.records import Comparison, Prompt, Text, Unpaired, canonical

Said = tuple[tuple[Any, ...], ...]  # of each answer: what each ranking, or the thumb, says of it


@dataclass(frozen=True)
class Parts:
    """A row's texts, squeezed."""

    asked: bytes
    answers: tuple[bytes, ...]
    said: Said


def of(row: Row) -> Parts:
    """The parts of a row; of a prompt, its reference is the answer."""
    record = row.record
    if isinstance(record, Text):
        return Parts(squeezed(record.text), (), ())
    answers = [text for _, text in row.answers]
    said: Said = ((),) * len(answers)
    if isinstance(record, Comparison):
        given = sorted(record.rankings, key=lambda ranking: ranking.annotator)
        said = tuple(tuple((r.annotator, r.ranks[i], r.weight) for r in given) for i in range(len(answers)))
    elif isinstance(record, Unpaired):
        said = ((record.desirable,),)
    elif isinstance(record, Prompt) and record.reference is not None:
        known = record.reference
        answers, said = [known if isinstance(known, str) else canonical(known)], ((),)
    return Parts(squeezed(row.asked), tuple(map(squeezed, answers)), said)


def similarity(windows: Windows, threshold: float, one: Parts, other: Parts) -> float:
    """The least similarity of the prompts, and of each answer with its match; 0 where the rows are no near copies.

    Every answer needs a match of its own, at `threshold` or above, of which the same is said.
    """
    if len(one.answers) != len(other.answers):
        return 0.0
    least = windows.similarity(one.asked, other.asked)
    if least < threshold:
        return 0.0
    free = dict(enumerate(zip(other.answers, other.said, strict=True)))
    rest = []
    for answer, said in zip(one.answers, one.said, strict=True):
        equal = next((place for place, held in free.items() if held == (answer, said)), None)
        if equal is None:
            rest.append((answer, said))
        else:
            del free[equal]
    for answer, said in rest:
        near = {place: windows.similarity(answer, text) for place, (text, _) in free.items()}
        best = max(near, key=near.__getitem__)
        if near[best] < threshold or free[best][1] != said:
            return 0.0
        del free[best]
        least = min(least, near[best])
    return least
