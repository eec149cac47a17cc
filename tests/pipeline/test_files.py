"""Files that are whole or absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import files


def test_write_atomically_leaves_the_old_file_when_writing_fails(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    files.write_atomically(file, "old")
    with pytest.raises(UnicodeEncodeError):
        files.write_atomically(file, "\ud800")
    assert file.read_text("utf-8") == "old"
