"""What an audit found: for the terminal, the report page, and programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.contract import Table
from stages.audit.ledger import SEVERITIES, Finding

if TYPE_CHECKING:
    from stages.audit.audited import Audited
    from stages.audit.cleaned import Changes

MAX_MESSAGE = 90


def place(finding: Finding) -> str:
    """Where a finding is: file, row and field."""
    if not finding.file:
        return finding.source
    if finding.row is None:
        return finding.file
    return f"{finding.file}:row {finding.row}" + (f": {finding.field}" if finding.field else "")


def fragments(audited: Audited) -> list[Table]:
    """The tables of the report page."""
    return [_findings(audited), *audited.tables]


def lines(audited: Audited) -> list[str]:
    """What is said on the terminal: every table, and of each kind of refusal the first, with what to do."""
    said = []
    for table in fragments(audited):
        if table.rows:
            said += [f"{table.title}:", *(f"  {line}" for line in _aligned([table.columns, *table.rows])), ""]
    said += [line for kind, _ in _ordered(audited) for line in _advice(audited.ledger.examples[kind])]
    severities = ", ".join(f"{audited.ledger.num(severity)} {severity}s" for severity in SEVERITIES)
    return [*said, f"{audited.num_rows} records, {audited.num_refused} rows refused; {severities}"]


def _advice(finding: Finding) -> list[str]:
    """What to do about a finding that knows it, in full."""
    return [f"{place(finding)}: {finding.message}", f"  -> {finding.remedy}", ""] if finding.remedy else []


def outcome(audited: Audited, num_written: int, changes: Changes) -> str:
    """What became of the rows."""
    return (
        f"{num_written} of {audited.num_rows} records written; {changes.num_left_out} rows left out and "
        f"{changes.num_changed} changed, listed in {changes.path.name}"
    )


def metrics(audited: Audited, num_written: int) -> dict[str, float]:
    """The stage's figures."""
    counts = {f"audit/num_{severity}s": float(audited.ledger.num(severity)) for severity in SEVERITIES}
    return {"audit/num_rows": audited.num_rows, "audit/num_refused": audited.num_refused, **counts,
            "audit/num_written": num_written}  # fmt: skip


def summary(audited: Audited, num_written: int, changes: Changes | None) -> dict[str, Any]:
    """The same for programs, with counts by source and check."""
    counts = [
        {"severity": severity, "check": check, "source": source, "findings": count}
        for (severity, check, source), count in _ordered(audited)
    ]
    changed = {"num_changed": changes.num_changed, "num_left_out": changes.num_left_out} if changes else {}
    tables = [
        {"title": t.title, "columns": list(t.columns), "rows": [list(row) for row in t.rows]} for t in audited.tables
    ]
    return {
        "num_rows": audited.num_rows,
        "num_refused": audited.num_refused,
        "num_written": num_written,
        **changed,
        "counts": counts,
        "tables": tables,
    }


def _findings(audited: Audited) -> Table:
    rows = []
    for (severity, check, source), count in _ordered(audited):
        first = audited.ledger.examples[severity, check, source]
        where = "" if first.row is None else f"row {first.row}"
        message = f"{first.field}: {first.message}" if first.field and first.remedy else first.message
        message = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
        rows.append([severity, check, source, count, where, " ".join(message.split())])
    note = "Patterns and hashes find forms, not meanings: what they cannot find is in stages/audit/README.md."
    return Table("Findings", ["severity", "check", "source", "count", "first at", "what"], rows, note)


def _ordered(audited: Audited) -> list[tuple[tuple[Any, str, str], int]]:
    return sorted(audited.ledger.counts.items(), key=lambda item: (SEVERITIES.index(item[0][0]), item[0][2], -item[1]))


def _aligned(rows: Sequence[Sequence[Any]]) -> Iterator[str]:
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for row in cells:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
