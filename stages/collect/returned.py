"""Whether enough has come back for the rows to be read. `plan` asks, so nothing here looks at more than it must."""

from __future__ import annotations

import json
from pathlib import Path

from pipeline.contract import ROWS
from pipeline.errors import DataError
from stages.annotation.answers import RANKINGS
from stages.returns.commands import rows_are_old


def missing(output: Path, returned: Path, min_rankings: int | None) -> str:
    """What has still to come in, in words; "" when it is enough.

    Without `min_rankings` every task needs one answer, be it a skip. Gold and repeated tasks do not count. DataError
    for a batch or rankings that posttune did not write.
    """
    key = _lines(output / "key.jsonl")
    asked = {line["task_id"] for line in key if line["kind"] == "normal"}
    given = [line for line in _lines(returned / RANKINGS) if line["task_id"] in asked]
    if min_rankings is not None:
        ranked = sum(line["status"] in ("ranked", "partial") for line in given)
        told = f"{ranked} of {min_rankings} rankings are back" if ranked < min_rankings else ""
    else:
        open_ = len(asked - {line["task_id"] for line in given})
        told = f"{open_} of {len(asked)} tasks have no answer yet" if open_ else ""
    rows = returned / ROWS["batch"]
    if not told and (not rows.exists() or rows_are_old(returned)):
        return "the rows are older than the answers: posttune collect rows makes them anew"
    if not told and not rows.stat().st_size:
        return "no answer can be learnt from: posttune collect rows says why"
    return told


def _lines(path: Path) -> list[dict[str, str]]:
    """The lines of a file with the fields that are read here; none where it is not there yet."""
    if not path.exists():
        return []
    try:
        found = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
        if all({"task_id"} < line.keys() for line in found):
            return found
    except (OSError, ValueError, AttributeError, RecursionError):
        pass
    raise DataError(
        "is not what posttune wrote", where=str(path), remedy="restore it; returns/ holds the files as sent"
    )
