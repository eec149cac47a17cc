"""One form for all times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from stages.annotation.times import moment, written


@pytest.mark.parametrize("value, expected", [
    ("2026-11-23T18:00:00Z", "2026-11-23T18:00:00.000000Z"),
    ("2026-11-23T18:00:00.5+02:00", "2026-11-23T16:00:00.500000Z"),
    ("2026-11-23 18:00", "2026-11-23T18:00:00.000000Z"),
    ("Mon Nov 23 10:00:00 PST 2026", "2026-11-23T18:00:00.000000Z"),
    (60, "1970-01-01T00:01:00.000000Z"),
    ("yesterday", None), ("", None), (None, None), (True, None), (1e300, None), ("0001-01-01T00:00:00+05:00", None),
])  # fmt: skip
def test_time_is_written_in_one_form_however_it_came(value, expected):
    assert written(value) == expected


def test_moment_is_that_of_its_written_form():
    assert moment("2026-11-23T18:00:00.25Z") == datetime(2026, 11, 23, 18, 0, 0, 250_000, UTC)
