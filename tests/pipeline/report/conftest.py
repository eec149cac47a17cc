"""Fixtures of the report's tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_run import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A run folder with a recipe and no stage yet."""
    return Folder(tmp_path / "runs" / "tickets")


@pytest.fixture
def page(folder: Folder) -> Callable[[], str]:
    """Writes the report and gives its text."""
    from pipeline import report

    return lambda: report.write(folder.root).read_text("utf-8")
