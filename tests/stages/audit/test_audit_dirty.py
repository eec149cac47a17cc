"""Defects planted in known places of real data; skipped where POSTTUNE_TEST_DATA does not name it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.dirty import recall

pytestmark = pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")


def test_planted_defects_are_found_at_their_rows() -> None:
    by_defect, missed, alarms = recall(Path(os.environ["POSTTUNE_TEST_DATA"]) / "dirty")
    every = [hit for hits in by_defect.values() for hit in hits]
    assert len(every) == 113
    assert sum(every) >= 0.95 * 113, missed
    assert min(sum(hits) for hits in by_defect.values()) > 0  # no kind of defect goes unseen
    assert sum(map(len, alarms.values())) <= 25, alarms  # of about 570 rows
