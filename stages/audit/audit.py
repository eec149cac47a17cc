"""Looks at data before anything is trained on it, and can keep bad data from being trained on.

From rows of any kind to findings (findings.jsonl, with row numbers), figures, and the rows again: a data source
`clean: {from: audit}` makes the audit a gate for the stages that read `clean`. All rows are read once for the row
checks and for hashes of them; those that may be copies or contradictions are read again and compared as texts.

Alone: `posttune audit recipes/quickstart.yaml`
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.contract import ROWS, Context, ModelConfig, Result, Source
from pipeline.errors import DataError
from stages.audit import cleaned, report
from stages.audit.audited import Audited
from stages.audit.checks import LEAVE_OUT, MENDED, WHOLE_CHECKS
from stages.audit.config import Config
from stages.audit.copies import row_text
from stages.audit.ledger import FINDINGS, Finding, Ledger, Severity
from stages.audit.minhash import Windows
from stages.audit.names import is_run
from stages.audit.place import claim, write_summary
from stages.audit.row_by_row import looked_at
from stages.audit.rows import Refusal, Row, Spot, read
from stages.audit.seen import Check, Seen, Settings

HEAD = 500  # rows of each source by which boilerplate is known
Say = Callable[[str], None]


def run(config: Config, context: Context) -> Result:
    """Audit, and write the rows; DataError where findings are as severe as `fail_on`."""
    folder = context.keep or context.output
    folder.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        {source.name: config.max_length for source in context.data["data"]},
        config.near_duplicate_threshold,
        context.model,
        context.seed,
    )
    sources = [(source, False) for source in context.data["data"]] + [
        (s, True) for s in context.data.get("against", ())
    ]
    audited = audit(sources, settings, folder, skip=config.skip, say=context.say)
    for line in report.lines(audited):
        context.say(line)
    _one_kind(audited)
    refuse(audited, config.fail_on, fix=config.fix)
    changes = cleaned.Changes(context.output)
    num_written = _write(audited, lambda row: context.output / ROWS[Config.produces], changes, fix=config.fix)
    if folder != context.output:
        audited.ledger.path.rename(context.output / audited.ledger.path.name)
        folder.rmdir()
    summary = report.summary(audited, num_written, changes)
    (context.output / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", "utf-8")
    return Result(
        report.metrics(audited, num_written), report.fragments(audited), [report.outcome(audited, num_written, changes)]
    )


def command(
    sources: Sequence[Source],
    against: Sequence[Source],
    model: ModelConfig,
    options: Mapping[str, Any],
    say: Say,
) -> None:
    """What `posttune audit` does: look at every source and say what was found; with `fix`, write cleaned copies.

    `options`: folder (for what is written), max_lengths, kinds (by source, of the records that stages read), threshold,
    skip, seed, fix, fail_on.
    """
    folder = Path(options["folder"])
    copies = [f"{source.name}.jsonl" for source in sources] if options["fix"] else []
    files = claim(folder, [*sources, *against], copies)
    settings = Settings(options["max_lengths"], options["threshold"], model, options["seed"], options["kinds"])
    given = [(source, False) for source in sources] + [(source, True) for source in against]
    audited = audit(given, settings, folder, skip=options["skip"], say=say)
    changes = cleaned.Changes(folder) if options["fix"] else None
    num_written = 0
    if changes is not None:
        num_written = _write(audited, lambda row: folder / f"{row.source.name}.jsonl", changes, fix=True)
    write_summary(folder, files, report.summary(audited, num_written, changes))
    for line in report.lines(audited):
        say(line)
    say(f"all findings: {audited.ledger.path}")
    if changes is not None:
        say(report.outcome(audited, num_written, changes))
    refuse(audited, options["fail_on"], fix=options["fix"])


def audit(
    sources: Sequence[tuple[Source, bool]],
    settings: Settings,
    folder: Path,
    *,
    skip: Sequence[str] = (),
    say: Say = print,
) -> Audited:
    """All checks on all sources; the flag of a source says that the others are held against it.

    Findings go to findings.jsonl in `folder`. No row, however bad, is an error here.
    """
    audited = Audited(Ledger(folder / FINDINGS, LEAVE_OUT, skip), sources)
    own = [source for source, is_against in sources if not is_against]
    with looked_at(own, settings, folder, skip) as pending:
        seen = Seen(settings, _windows(sources), [source.name for source, _ in sources])
        checks = [check(seen) for name, check in WHOLE_CHECKS.items() if is_run(name, skip)]
        for row in read(sources, lambda refusal: _refused(audited, refusal), kinds=settings.kinds):
            seen.add(row)
            if row.side != "against":
                audited.num_rows += 1
                audited.kinds.add(row.record.kind)
            for check in checks:
                check.see(row)
        say(f"{audited.num_rows} records read; comparing those that may be copies or contradictions")
        _second_look(audited, seen, checks)
        part = pending.result()
    audited.tables += [*part.tables, *(table for check in checks for table in check.end(audited.ledger.add))]
    audited.ledger.take_over(part.path, part.counts, part.examples)
    audited.ledger.close()
    return audited


def refuse(audited: Audited, fail_on: str, *, fix: bool) -> None:
    """DataError where findings are as severe as `fail_on`, or more; with `fix`, those that a cleaned copy still has."""
    ledger = audited.ledger
    grave = ledger.worst(fail_on, MENDED if fix else ())
    lasting = audited.lasting if fix and fail_on != "never" else []
    if not grave and not lasting:
        return
    count = sum(ledger.counts[kind] for kind in grave) + len(lasting)
    first = ledger.examples[grave[0]] if grave else lasting[0]
    above = "" if fail_on == "error" else " or above"
    remedies = [first.remedy or "mend the data"]
    if not fix and not audited.lasting and all(check in MENDED for _, check, _ in grave):
        remedies.append("leave bad rows out, fix: true (posttune audit: --fix DIR)")
    raise DataError(
        f"{count} finding{'s' if count > 1 else ''} of severity {fail_on}{above}, "
        f"the first: {report.place(first)}: {first.message}",
        where=str(ledger.path),
        remedy="\n  -> or ".join([*remedies, "set fail_on: never"]),
    )


def _windows(sources: Sequence[tuple[Source, bool]]) -> Windows:
    """What near copies are compared by, without what most of the first rows share."""
    return Windows([row_text(row) for given in sources for row in islice(read([given]), HEAD)])


def _refused(audited: Audited, refusal: Refusal) -> None:
    """A row that the stages would refuse, too; under `on_bad_row: skip` they would leave it out."""
    skipped = refusal.source.config.on_bad_row == "skip" and refusal.row is not None
    severity: Severity = "note" if refusal.check == "blank_line" else "warning" if skipped else "error"
    place = refusal.file, refusal.row, refusal.field
    finding = Finding(severity, refusal.check, refusal.source.name, refusal.problem, *place, remedy=refusal.remedy)
    audited.ledger.add(finding)
    if refusal.lasts:
        audited.lasting.append(finding)
    elif refusal.check != "blank_line":
        audited.num_refused += refusal.row is not None
        audited.refused.append(refusal)


def _second_look(audited: Audited, seen: Seen, checks: Sequence[Check]) -> None:
    """Every row that a check asks for, in the order of the first reading."""
    indices = sorted({int(index) for check in checks for index in check.again()})
    wanted: dict[Spot, int] = {}
    for index in indices:
        first = index
        while first and seen.spot(first - 1) == seen.spot(index):  # records of one row are read together
            first -= 1
        wanted.setdefault(seen.spot(index), first)
    if wanted:
        for row in read(audited.sources, wanted=wanted):
            for check in checks:
                check.look(row, audited.ledger.add)


def _one_kind(audited: Audited) -> None:
    """The rows are written into one file, which holds one kind of record."""
    if not audited.num_rows:
        known = [finding for finding in audited.ledger.examples.values() if finding.severity == "error"]
        first = f", the first: {report.place(known[0])}: {known[0].message}" if known else ""
        raise DataError(
            f"no good row: {audited.num_refused} were refused{first}",
            where=str(audited.ledger.path),
            remedy=(known[0].remedy if known else "") or "mend the data",
        )
    if len(audited.kinds) > 1:
        raise DataError(
            f"the sources hold several kinds of records: {', '.join(sorted(audited.kinds))}",
            where="audit",
            remedy="make an audit stage for each kind: `audit-2: {kind: audit, data: ...}`",
        )


def _write(audited: Audited, path_of: Callable[[Row], Path], changes: cleaned.Changes, *, fix: bool) -> int:
    """The rows again, and what was changed or left out of them."""
    for refusal in audited.refused:
        if refusal.row is not None or refusal.check == "unreadable_file":
            reason = f"{refusal.field} {refusal.problem}".strip()
            changes.left_out(refusal.source.name, refusal.file, refusal.row, refusal.check, reason)
    try:
        return cleaned.write(_audited_rows(audited), path_of, audited.ledger.dropped, changes, fix)
    finally:
        changes.close()


def _audited_rows(audited: Audited) -> Iterator[Row]:
    return read([(source, False) for source, is_against in audited.sources if not is_against])
