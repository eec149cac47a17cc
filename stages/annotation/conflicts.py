"""Two answers of one annotator to one task: which one stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from stages.annotation.schema import Answer
from stages.annotation.times import moment

# Keeping both as two annotators is not offered: one person would agree with himself as if he were two.
OnConflict = Literal["newest-file", "keep-first"]
Outcome = Literal["taken", "replaced", "duplicate", "older"]


@dataclass(frozen=True)
class Settled:
    """The answer that stands, and what became of the new one."""

    answer: Answer
    outcome: Outcome


def settle(old: Answer | None, new: Answer, on_conflict: OnConflict | None) -> Settled | None:
    """The later `submitted_at` stands, then the higher revision; None where neither tells and nobody said."""
    if old is None:
        return Settled(new, "taken")
    if old.says_the_same_as(new) or _is_known(new, old):
        return Settled(old, "duplicate")
    newer = _is_newer(new, old)
    if newer is None:
        if on_conflict is None:
            return None
        newer = on_conflict == "newest-file"
    return Settled(_over(new, old), "replaced") if newer else Settled(_over(old, new), "older")


def _is_newer(new: Answer, old: Answer) -> bool | None:
    first, second = moment(old.submitted_at), moment(new.submitted_at)
    if first is None or second is None:
        return None
    if first == second:
        return None if new.revision == old.revision else new.revision > old.revision
    return second > first


def _over(winner: Answer, loser: Answer) -> Answer:
    return replace(winner, superseded=(*winner.superseded, _row(loser), *loser.superseded))


def _row(answer: Answer) -> Mapping[str, Any]:
    return {key: value for key, value in answer.as_row().items() if key not in ("superseded", "schema")}


def _is_known(new: Answer, old: Answer) -> bool:
    """Whether this very answer lost before: of the same file, under the same number in it."""
    row = _row(new)
    same = ("ranks", "status", "strength", "flags", "submitted_at", "revision")
    return any(
        all(before.get(key) == row[key] for key in same)
        and before.get("source", {}).get("file_sha256") == new.source.get("file_sha256")
        for before in old.superseded
    )
