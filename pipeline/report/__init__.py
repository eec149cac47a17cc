"""Run folder -> one self-contained HTML page. Knows no stage: only manifests, metrics and report fragments."""

from __future__ import annotations

from pathlib import Path


def write(root: Path) -> Path:
    """Write `root/report.html` from what the run folder `root` (`runs/<recipe>/`) holds; returns the page's path.

    Works on a half-finished folder too. The page changes nothing else and replaces the old one atomically.
    """
    from pipeline.redaction import clean
    from pipeline.report.folder import read_run
    from pipeline.report.page import render
    from pipeline.store import write_atomically

    page = root / "report.html"
    write_atomically(page, clean(render(read_run(root))))
    return page
