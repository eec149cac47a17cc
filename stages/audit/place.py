"""The folder that the command writes into. It must be the audit's own: nothing of anybody else is written over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.contract import Source
from pipeline.errors import DataError, UserError
from stages.audit.cleaned import CHANGES
from stages.audit.ledger import FINDINGS
from stages.formats.files import expand

SUMMARY = "summary.json"
WRITER = "posttune audit"  # what its summary names as its maker
REPORTS = (FINDINGS, f"{FINDINGS}.part", CHANGES, SUMMARY)


def claim(folder: Path, sources: Sequence[Source], copies: Sequence[str]) -> list[str]:
    """Make the folder the audit's, before anything is read; the names of the files that are the audit's in it.

    `copies` are the files that will be written beside the reports. UserError where the folder holds anything that no
    earlier audit wrote, or a source, or where two files would have one name.
    """
    if taken := [name for name in copies if name in REPORTS]:
        raise UserError(
            f"the cleaned copy of '{Path(taken[0]).stem}' would have the name of a report, {taken[0]}",
            where=str(folder),
            remedy="rename the source",
        )
    for source in sources:
        if _lies_in(source, folder):
            raise UserError(
                f"holds the data source '{source.name}' ({source.config.path}), which would be written over or read "
                "together with what the audit writes",
                where=str(folder),
                remedy="name another folder, one that is new or empty",
            )
    before = _written(folder)
    held = folder.iterdir() if folder.exists() else ()
    others = sorted(path.name for path in held if path.name not in before or path.is_symlink())
    if others:
        raise UserError(
            f"holds what no earlier audit wrote: {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}",
            where=str(folder),
            remedy="name another folder, one that is new or empty, or move that away",
        )
    folder.mkdir(parents=True, exist_ok=True)
    files = sorted({*REPORTS, *before, *copies})
    write_summary(folder, files, {"finished": False})  # an audit that is cut off can be done again in the same place
    return files


def write_summary(folder: Path, files: Sequence[str], told: dict[str, object]) -> None:
    """Its summary, by which the folder is known as the audit's."""
    text = json.dumps({"written_by": WRITER, "files": list(files), **told}, indent=1)
    (folder / SUMMARY).write_text(text + "\n", "utf-8")


def _written(folder: Path) -> set[str]:
    """What an earlier audit wrote in the folder, by its summary; nothing where none says so."""
    try:
        told = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return set()
    if not isinstance(told, dict) or told.get("written_by") != WRITER or not isinstance(told.get("files"), list):
        return set()
    return {name for name in told["files"] if isinstance(name, str)}


def _lies_in(source: Source, folder: Path) -> bool:
    try:
        files = expand(str(source.config.path))
    except DataError:
        return False  # of the hub, or not there: the audit tells of it
    inside = folder.resolve()
    return any(inside in (file.absolute().parent.resolve(), *file.resolve().parents) for file in files)
