"""Spreadsheets: which sheet, which cells, and an error with its place for what cannot be read."""

from __future__ import annotations

import datetime
import io
import zipfile

import openpyxl
import pytest

from pipeline.errors import DataError
from stages.formats import read_rows, workbook


def book(folder, **sheets):
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(folder / "a.xlsx")
    return folder / "a.xlsx"


def error_of(file, **options):
    with pytest.raises(DataError) as caught:
        list(read_rows(file, **options))
    assert caught.value.remedy
    return caught.value


def test_cells_are_read_as_a_csv_holds_them(tmp_path):
    day = datetime.datetime(2026, 11, 2, 10, 30)
    file = book(tmp_path, rows=[[" text ", "n", "yes", "day"], ["a\nb", 1, True, day], ["=1", 2.5, None, None],
                                ["", 7.0, None, None]])  # fmt: skip
    (_, first), (_, second), (_, third) = read_rows(file)
    assert first == {"text": "a\nb", "n": "1", "yes": True, "day": "2026-11-02T10:30:00"}
    assert (second["n"], third["n"]) == ("2.5", "7")


def test_rows_keep_their_line_when_empty_ones_lie_between(tmp_path):
    file = book(tmp_path, rows=[[], ["k", "l"], ["1"], [], [None, "2"]])
    assert list(read_rows(file)) == [(1, {"k": "1", "l": None}), (3, {"k": None, "l": "2"})]


def test_the_sheet_with_rows_is_read_when_others_are_empty(tmp_path):
    assert list(read_rows(book(tmp_path, notes=[], rows=[["k"], ["1"]]))) == [(1, {"k": "1"})]


def test_a_sheet_must_be_named_when_several_have_rows(tmp_path):
    file = book(tmp_path, notes=[["k"], ["0"]], rows=[["k"], ["1"]])
    error = error_of(file)
    assert error.problem == "has several sheets with rows: notes, rows"
    assert list(read_rows(file, table="rows")) == [(1, {"k": "1"})]
    assert error_of(file, table="row").remedy == "did you mean 'rows'?"


@pytest.mark.parametrize("rows, where, problem", [
    ([["k", "k"], ["1", "2"]], ":header", "column names must be present and different"),
    ([["k", None, "l"], ["1"]], ":header", "column names must be present and different"),
    ([["k"], ["1", "2"]], ":row 1", "2 cells under 1 columns"),
    ([["k"]], "a.xlsx", "the file has no rows"),
    ([], "a.xlsx", "the file has no rows"),
    ([[str(i) for i in range(1001)]], ":header", "more than 1000 columns"),
])  # fmt: skip
def test_reading_fails_with_place_and_reason_when_a_sheet_is_wrong(tmp_path, rows, where, problem):
    error = error_of(book(tmp_path, rows=rows))
    assert error.where.endswith(where) and error.problem.startswith(problem)


def test_a_row_is_bad_when_a_formula_of_it_failed(tmp_path):
    file = book(tmp_path, rows=[["k", "l"], ["1", "#N/A"], ["2", "3"]])
    noted = []
    assert list(read_rows(file, noted.append)) == [(2, {"k": "2", "l": "3"})]
    assert [(e.where, e.problem) for e in noted] == [(f"{file}:row 1", "cell B2 holds the error #N/A")]


def archive(**parts):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return packed.getvalue()


@pytest.mark.parametrize("content", [
    b"", b"PK", b"\xd0\xcf\x11\xe0" + b"\0" * 600, archive(), archive(**{"[Content_Types].xml": "<a"}),
    archive(**{"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "no"}),
])  # fmt: skip
def test_a_file_is_refused_when_it_is_no_workbook(tmp_path, content):
    (tmp_path / "a.xlsx").write_bytes(content)
    error = error_of(tmp_path / "a.xlsx")
    assert error.where == str(tmp_path / "a.xlsx") and error.problem.startswith("is not a readable XLSX file")


def test_a_workbook_is_refused_when_it_unpacks_to_more_than_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(workbook, "MAX_UNPACKED", 2**20)
    (tmp_path / "a.xlsx").write_bytes(archive(**{"xl/worksheets/sheet1.xml": b" " * 2**21}))
    assert error_of(tmp_path / "a.xlsx").problem == "unpacks to 2 MiB; at most 1 MiB are read"
