"""Run folder -> one self-contained HTML page, and the models' cards. Knows no stage: only what run folders hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.stage_run import StageRun


def write(root: Path) -> Path:
    """Write `root/report.html` from what the run folder `root` (`runs/<recipe>/`) holds; returns the page's path.

    Works on a half-finished folder too. The page changes nothing else and replaces the old one atomically.
    """
    from pipeline.files import write_atomically
    from pipeline.redaction import clean
    from pipeline.report.folder import read_run
    from pipeline.report.page import render

    page = root / "report.html"
    write_atomically(page, clean(render(read_run(root))))
    return page


def finish_card(run: StageRun, fragments: Sequence[Mapping[str, Any]]) -> None:
    """Add to the README.md of an output that is about to be published what its stage did not know.

    Nothing that differs between two runs of one fingerprint goes in: an artifact is known by its files' digests.
    """
    from pipeline.errors import StageFailed
    from pipeline.files import write_atomically
    from pipeline.redaction import clean
    from pipeline.report.card import finish
    from pipeline.report.origin import made_from

    readme = run.unpublished / "README.md"
    if not readme.is_file():
        return
    try:
        whole = finish(readme.read_text("utf-8", "replace"), made_from(run.read("inputs.json"), {}), fragments)
        write_atomically(readme, clean(whole))
    except OSError as error:
        raise StageFailed(
            f"the model's card could not be written: {error.strerror}",
            where=str(readme),
            remedy="free some space or mend the permissions, then run again: the checkpoint is kept",
        ) from error
