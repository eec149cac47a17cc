"""Findings: one line each in findings.jsonl, written as they are found; in memory stay only counts and examples."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
FINDINGS = "findings.jsonl"
Kind = tuple[Severity, str, str]  # severity, check and source
Place = tuple[str, int]  # a file and the number of a row in it, from 1


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth a look, in one row; `row` is None where it concerns a file or a source."""

    severity: Severity
    check: str
    source: str
    message: str
    file: str = ""
    row: int | None = None
    field: str = ""
    related: tuple[Place, ...] = ()
    remedy: str = ""

    def as_row(self) -> dict[str, Any]:
        """Its line in findings.jsonl."""
        return {
            "severity": self.severity,
            "check": self.check,
            "source": self.source,
            "file": self.file,
            "row": self.row,
            "field": self.field or None,
            "related_rows": [{"file": file, "row": row} for file, row in self.related],
            "message": self.message,
            "remedy": self.remedy or None,
        }


class Ledger:
    """Takes findings in, but those whose names `skip` holds. `leave_out`: whose rows a cleaned copy is made without."""

    def __init__(self, path: Path, leave_out: Mapping[str, bool] | None = None, skip: Collection[str] = ()) -> None:
        self.path = path
        self.counts: Counter[Kind] = Counter()
        self.examples: dict[Kind, Finding] = {}
        self.dropped: dict[Place, Finding] = {}
        self._leave_out, self._skip = leave_out or {}, frozenset(skip)
        self._stream = self.path.open("w", encoding="utf-8")

    def add(self, finding: Finding) -> None:
        """Write it down and count it."""
        if finding.check in self._skip:
            return
        self._stream.write(json.dumps(finding.as_row(), ensure_ascii=True) + "\n")
        kind = finding.severity, finding.check, finding.source
        self.counts[kind] += 1
        self.examples.setdefault(kind, finding)
        if finding.row is not None and finding.check in self._leave_out:
            self.dropped.setdefault((finding.file, finding.row), finding)
            if self._leave_out[finding.check]:  # with the rows it is about: nobody knows which of them is right
                for place in finding.related:
                    self.dropped.setdefault(place, finding)

    def take_over(self, path: Path, counts: Mapping[Kind, int], examples: Mapping[Kind, Finding]) -> None:
        """The findings of another ledger, whose file goes."""
        self._stream.flush()
        with path.open("rb") as stream, self.path.open("ab") as all_of_them:
            shutil.copyfileobj(stream, all_of_them)
        path.unlink()
        self._stream.seek(0, os.SEEK_END)
        self.counts.update(counts)
        for kind, finding in examples.items():
            self.examples.setdefault(kind, finding)

    def close(self) -> None:
        self._stream.close()

    def num(self, severity: Severity) -> int:
        """How many findings there are of one severity."""
        return sum(count for (given, _, _), count in self.counts.items() if given == severity)

    def worst(self, fail_on: str, but: Collection[str] = ()) -> list[Kind]:
        """The kinds of findings that are at least as severe as `fail_on`, other than those of the named checks."""
        grave = () if fail_on == "never" else SEVERITIES[: SEVERITIES.index(fail_on) + 1]  # type: ignore[arg-type]
        return sorted((kind for kind in self.counts if kind[0] in grave and kind[1] not in but), key=_gravity)


def _gravity(kind: Kind) -> int:
    return SEVERITIES.index(kind[0])


Add = Callable[[Finding], None]
