"""What the kernel tells of processes (Linux)."""

from __future__ import annotations

from pathlib import Path

import pytest


def children(pid: int) -> list[int]:
    """The processes it started."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("utf-8").split()]
    except OSError:
        pytest.skip("needs /proc")


def is_alive(pid: int) -> bool:
    """Neither gone nor dead and waiting to be collected."""
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text("utf-8").rpartition(")")[2].split()[0] not in {"Z", "X"}
