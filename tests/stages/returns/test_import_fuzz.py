"""Damaged files: a DataError or an import whose counts add up, and never another error or a loss in silence."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from people import LONG_MAP, Office

from pipeline.errors import DataError
from stages.exchange.tools import ReadOptions
from stages.returns.take import read_answers

CELLS = st.text(max_size=8) | st.sampled_from(
    ["", "1", "-1", "1e9", "c_abcdefgh", "A>B", "=1", "\x00", '"', "skip", "é"]
)


@pytest.fixture(scope="module")
def filled():
    """An office, its filled-in CSV file and workbook as bytes, and the cells of the former."""
    with tempfile.TemporaryDirectory() as folder:
        office = Office(Path(folder))
        typed = {name: 1 for task in office.batch.tasks for name in task.ids}
        csv_file, workbook = office.filled_csv(typed), office.filled_xlsx(typed)
        yield office, csv_file.read_bytes(), workbook.read_bytes(), office.csv_rows()


def imported(office, data: bytes, **options) -> None:
    """Import the bytes into an empty folder: only a DataError may come of it, and what is counted is what is there."""
    with tempfile.TemporaryDirectory() as folder:
        office.answers = Path(folder) / "answers"
        back = Path(folder) / "back"
        back.write_bytes(data)
        try:
            report = office.take(back, **options)
        except DataError as error:
            assert error.where and error.remedy
            assert not (office.answers / "rankings.jsonl").exists()
            return
        (file,) = report.files
        kept = read_answers(office.answers)
        assert len(kept) == report.answers == file.counts.get("taken", 0)
        assert file.total == sum(file.counts.values()) + len(file.problems) + sum(file.ignored.values())
        assert all(problem.where and problem.problem for problem in file.problems)


def changed(data: bytes, draw_at: float, mode: str, new: bytes) -> bytes:
    at = int(draw_at * len(data))
    return {"cut": data[:at], "put": data[:at] + new + data[at:], "over": data[:at] + new + data[at + len(new) :]}[mode]


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.sampled_from(["cut", "put", "over"]), st.binary(min_size=1, max_size=4))
def test_csv_file_is_refused_or_counted_when_bytes_are_changed(filled, at, mode, new):
    imported(filled[0], changed(filled[1], at, mode, new))
    imported(filled[0], changed(filled[1], at, mode, new), tool="csv")


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.sampled_from(["cut", "put", "over"]), st.binary(min_size=1, max_size=4))
def test_workbook_is_refused_or_counted_when_bytes_are_changed(filled, at, mode, new):
    imported(filled[0], changed(filled[2], at, mode, new))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 14), st.integers(0, 11), CELLS), max_size=6), st.booleans())
def test_every_task_is_counted_when_cells_are_of_any_content(filled, edits, mapped):
    office, _, _, rows = filled
    rows = [list(row) for row in rows]
    for row, column, value in edits:
        rows[row][column] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        with path.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            csv.writer(file).writerows(rows)
        data = path.read_bytes()
    imported(office, data, **({"read": ReadOptions(columns=LONG_MAP)} if mapped else {"tool": "csv"}))


@settings(max_examples=25, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([None, "csv", "xlsx", "mapped"]))
def test_any_bytes_are_refused_or_counted(filled, data, tool):
    imported(filled[0], data, tool=tool)
    imported(filled[0], b"PK\x03\x04" + data, tool=tool)


@pytest.mark.parametrize(
    "edits, tasks", [([], 4), ([(1, 7, "t_zzzzzzzz")], 5), ([(1, 7, "t_zzzzzzzz"), (2, 7, "x")], 5)]
)
def test_total_is_the_number_of_tasks_that_the_file_names(filled, edits, tasks, tmp_path):
    office, _, _, rows = filled
    rows = [list(row) for row in rows]
    for row, column, value in edits:
        rows[row][column] = value
    office.answers = tmp_path / "answers"
    path = tmp_path / "back.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)
    assert office.take(path).files[0].total == tasks
