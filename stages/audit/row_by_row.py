"""The checks that hold no row against another: in a second process, beside the others, where there is much data."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pipeline.contract import Source, Table
from pipeline.errors import DataError
from stages.audit.checks import ROW_CHECKS, SOURCE_CHECKS
from stages.audit.ledger import Finding, Kind, Ledger
from stages.audit.names import is_run
from stages.audit.rows import read
from stages.audit.seen import Settings
from stages.formats.files import expand

MUCH = 20 * 2**20  # bytes; less is looked at before a second process has started


@dataclass(frozen=True)
class Part:
    """What was found, and the file that holds it."""

    path: Path
    counts: Mapping[Kind, int]
    examples: Mapping[Kind, Finding]
    tables: Sequence[Table]


class Pending(Protocol):
    """A part that may still be in the making."""

    def result(self) -> Part: ...


@contextmanager
def looked_at(sources: Sequence[Source], settings: Settings, folder: Path, skip: Sequence[str]) -> Iterator[Pending]:
    """Start to look at every row by itself; inside, `result` waits for the end of it."""
    path = folder / "findings.jsonl.part"
    if sum(map(_num_bytes, sources)) < MUCH:
        yield _Done(look(sources, settings, path, skip))
        return
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool.submit(look, sources, settings, path, skip)


@dataclass(frozen=True)
class _Done:
    part: Part

    def result(self) -> Part:
        return self.part


def look(sources: Sequence[Source], settings: Settings, path: Path, skip: Sequence[str]) -> Part:
    """All row checks and source checks; rows that stages/formats refuses are the caller's to tell of."""
    ledger = Ledger(path, skip=skip)
    row_checks = {name: check for name, check in ROW_CHECKS.items() if is_run(name, skip)}
    source_checks = [check(settings) for name, check in SOURCE_CHECKS.items() if is_run(name, skip)]
    for row in read([(source, False) for source in sources]):
        for name, check in row_checks.items():
            for severity, place, message in check(row):
                ledger.add(Finding(severity, name, row.source.name, message, row.file, row.number, place))
        for source_check in source_checks:
            source_check.see(row)
    tables = [table for check in source_checks for table in check.end(ledger.add)]
    ledger.close()
    return Part(path, ledger.counts, ledger.examples, tables)


def _num_bytes(source: Source) -> int:
    """Of its files; a data set of the hub counts as much."""
    try:
        return sum(file.stat().st_size for file in expand(str(source.config.path)))
    except (DataError, OSError):
        return MUCH
