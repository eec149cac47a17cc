"""Values as text."""

from __future__ import annotations

import pytest

from pipeline.report.tables import table
from pipeline.report.text import cell, duration, memory, visible


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.123456, "0.1235"),
        (1234.5678, "1235"),
        (0.00001234, "1.234e-05"),
        (12345.6, "12,346"),
        (1228800.0, "1,228,800"),
        (17, "17"),
        (None, "\N{EN DASH}"),
        (float("nan"), "NaN"),
        (float("-inf"), "-∞"),
        (True, "yes"),
        ("0.50", "0.50"),
        (10**400, "very large"),
    ],
)
def test_cell_reads_to_four_digits_when_it_is_a_number(value: object, shown: str) -> None:
    assert cell(value) == shown


@pytest.mark.parametrize(("seconds", "shown"), [(8.23, "8.2 s"), (185, "3 min 05 s"), (9660, "2 h 41 min")])
def test_duration_reads_naturally_when_it_is_short_or_long(seconds: object, shown: str) -> None:
    assert duration(seconds) == shown


def test_memory_changes_its_unit_when_it_is_large() -> None:
    assert (memory(640), memory(3277), memory(None)) == ("640 MB", "3.2 GB", "\N{EN DASH}")


@pytest.mark.parametrize("code", [0x00, 0x1B, 0x9B, 0xAD, 0x200B, 0x202A, 0x202E, 0x2066, 0x2069, 0xFEFF, 0xE0041])
def test_visible_names_the_character_when_it_is_hidden(code: int) -> None:
    assert visible(f"a{chr(code)}b") == f"a[U+{code:04X}]b"


def test_visible_changes_nothing_when_text_is_ordinary() -> None:
    assert visible("Grüße, 你好, שלום\n\tx\r\n") == "Grüße, 你好, שלום\n\tx\n"


def test_table_sets_a_column_right_when_all_its_cells_are_figures() -> None:
    found = table("rm", {"columns": ["a", "b", "c"], "rows": [["1", "0.83 [0.78, 0.88]", "x"], ["2", None, 3]]})
    assert [c.is_figure for c in found.columns] == [False, True, False]
    assert (found.rows[0][1].text, found.rows[0][1].interval) == ("0.83", "[0.78, 0.88]")
