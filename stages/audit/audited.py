"""What an audit hands to those who tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.contract import Source, Table
from stages.audit.ledger import Finding, Ledger
from stages.audit.rows import Refusal


@dataclass
class Audited:
    """What an audit found. The findings themselves are in the ledger's file."""

    ledger: Ledger
    sources: Sequence[tuple[Source, bool]]
    tables: list[Table] = field(default_factory=list)
    num_rows: int = 0  # records that were looked at, those to hold against left out
    num_refused: int = 0  # rows that stages/formats refused
    kinds: set[str] = field(default_factory=set)
    refused: list[Refusal] = field(default_factory=list)  # kept only for a list of what was left out
    lasting: list[Finding] = field(default_factory=list)  # of these a cleaned copy is not free
