"""What people and spreadsheet programs do to a sheet: what is taken, and what is refused with its cell."""

from __future__ import annotations

import io
import zipfile

import pytest
from made_up_batch import made_up_batch
from people import Office, ranks_of

from pipeline.errors import DataError
from stages.exchange.tools import ReadOptions
from stages.returns.take import read_answers


@pytest.fixture
def office(tmp_path):
    """One task of three completions; `letters` are its ids in the order that ann1 sees."""
    office = Office(tmp_path, made_up_batch([["one", "two", "three"]], ["ann1"]))
    office.letters = office.batch.assignments[0].shown
    return office


def with_ranks(office, *ranks, head=None):
    rows = office.csv_rows()
    for row, rank in zip(rows[1:], ranks, strict=True):
        row[4] = rank
    return [head or rows[0], *rows[1:]]


def ranked(office, *files, **options):
    office.take(*files, **options)
    ranks = ranks_of(office).get(office.batch.tasks[0].task_id, {})
    return [ranks.get(name) for name in office.letters]


@pytest.mark.parametrize("cell", ["2", "2.0", "2,0", " 2 ", "02", "'2", "\uff12", "2.00"])
def test_rank_is_two_when_written_in_any_of_these_ways(office, cell):
    assert ranked(office, office.write(with_ranks(office, "1", cell, "3"))) == [1, 2, 3]


@pytest.mark.parametrize(
    "cell", ["best", "4", "0", "-1", "1.5", "1st", "1 2", "true", "#REF!", "nan", "1e0", "A", "9" * 5000]
)
def test_task_is_refused_with_its_cell_when_a_rank_is_none(office, cell):
    report = office.take(office.write(with_ranks(office, "1", cell, "2")))
    (problem,) = report.problems
    assert problem.where == f"{office.folder}/back.csv:row 3, column E (rank)"
    assert "a whole number from 1 (best) to 3, or nothing, is allowed" in problem.problem
    assert (report.exit_code, report.answers) == (2, 0)


@pytest.mark.parametrize("value, rank", [(2, 2), (2.0, 2), ("2", 2), (" 2 ", 2), (None, None)])
def test_workbook_rank_is_read_when_a_number_or_text(office, value, rank):
    typed = dict(zip(office.letters, (1, value, 3), strict=True))
    expected = [1, rank, 3] if rank else [1, None, 2]
    assert ranked(office, office.filled_xlsx(typed)) == expected


def test_refusal_names_sheet_row_and_column_when_in_a_workbook(office):
    (problem,) = office.take(office.filled_xlsx({office.letters[1]: True})).problems
    assert problem.where.endswith("back.xlsx:sheet 'Tasks', row 3, column E (rank)")


@pytest.mark.parametrize("cell, ranks", [
    ("A>B=C", [1, 2, 2]), ("b = a > c", [1, 1, 2]), ("C>A", [2, None, 1]), ("A=B=C", [1, 1, 1]),
    ("'C > B > A", [3, 2, 1]),
])  # fmt: skip
def test_whole_order_in_one_cell_is_taken(office, cell, ranks):
    assert ranked(office, office.write(with_ranks(office, "", cell, ""))) == ranks


@pytest.mark.parametrize("cell, word", [
    ("A>D", "'D' is no answer of this task"), ("A>A", "'A' is named twice"), ("A>", "'' is no answer"),
    ("A<B=C", "'A<B'"),
])  # fmt: skip
def test_whole_order_is_refused_when_it_names_no_answer(office, cell, word):
    (problem,) = office.take(office.write(with_ranks(office, cell, "", ""))).problems
    assert word in problem.problem and problem.where.endswith("row 2, column E (rank)")


def test_whole_order_is_refused_when_numbers_stand_beside_it(office):
    (problem,) = office.take(office.write(with_ranks(office, "A>B", "1", ""))).problems
    assert "stands beside other ranks" in problem.problem


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_file_is_read_in_the_delimiter_and_encoding_of_any_spreadsheet(office, delimiter, encoding):
    rows = with_ranks(office, "1", "2", "3")
    rows[1][5] = "très bien, merci; oui"
    back = office.write(rows, encoding=encoding, delimiter=delimiter)
    assert ranked(office, back) == [1, 2, 3]
    assert read_answers(office.answers)[0].comment == "très bien, merci; oui"


def test_columns_are_found_when_titles_are_in_capitals_in_another_order_and_under_a_title_row(office):
    rows = [["notes", *(title.upper() + " " for title in row)] if number == 0 else ["mine", *row]
            for number, row in enumerate(with_ranks(office, "3", "2", "1"))]  # fmt: skip
    turned = [list(reversed(row)) for row in rows]
    assert ranked(office, office.write([["My ranking"], *turned]), tool="csv") == [3, 2, 1]


def test_file_is_refused_when_a_column_is_gone_or_there_twice(office):
    rows = with_ranks(office, "1", "2", "3")
    with pytest.raises(DataError, match="has no row of titles with the columns"):
        office.take(office.write([row[:-4] + row[-3:] for row in rows]), tool="csv")
    with pytest.raises(DataError, match="two columns are called 'rank'"):
        office.take(office.write([[*row, row[4]] for row in rows]))


def test_file_is_refused_when_a_quote_is_never_closed(office):
    back = office.write(with_ranks(office, "1", "2", "3"))
    back.write_text(back.read_text("utf-8") + '"open', "utf-8")
    with pytest.raises(DataError, match="cannot be split into cells") as error:
        office.take(back)
    assert "row 5" in error.value.where


def test_flag_comment_and_skip_are_read(office):
    rows = with_ranks(office, "", "", "")
    rows[1][5], rows[2][6], rows[3][6] = "too short", "Skip", "Broken prompt; UNSAFE"
    office.take(office.write(rows))
    (answer,) = read_answers(office.answers)
    assert (answer.status, answer.skip_reason, answer.ranks) == ("skipped", "too short", {})
    assert answer.flags == ("broken_prompt", "unsafe")
    assert answer.shown == office.letters


def test_task_is_refused_when_skipped_and_ranked(office):
    rows = with_ranks(office, "1", "", "")
    rows[2][6] = "skip"
    (problem,) = office.take(office.write(rows)).problems
    assert problem.problem == "the task is skipped and ranked"


def test_comment_alone_is_counted_and_is_no_answer(office):
    rows = with_ranks(office, "", "", "")
    rows[1][5] = "later"
    report = office.take(office.write(rows))
    assert report.files[0].ignored == {"commented, but neither ranked nor flagged": 1}


def test_file_is_refused_when_ids_were_sorted_apart_from_the_letters(office):
    rows = with_ranks(office, "1", "2", "3")
    moved = [row[:3] + other[3:7] + row[7:] for row, other in zip(rows[1:], rows[2:] + rows[1:2], strict=True)]
    office.take(office.write([rows[0], *moved]))  # the text and the rank alone: nobody can see that
    apart = [row[:7] + other[7:] for row, other in zip(rows[1:], rows[2:] + rows[1:2], strict=True)]
    with pytest.raises(DataError, match="the columns were sorted apart from each other"):
        office.take(office.write([rows[0], *apart], "apart.csv"))


def test_workbook_is_refused_when_its_sheet_was_copied(office):
    back = office.filled_xlsx({}, edit=lambda sheet: sheet.parent.copy_worksheet(sheet))
    with pytest.raises(DataError, match="the sheets 'Tasks', 'Tasks Copy' hold tasks"):
        office.take(back)


def test_annotator_of_the_hidden_sheet_counts_when_the_column_is_empty(office):
    def clear(sheet):
        for row in range(2, 5):
            sheet.cell(row, 12).value = None

    report = office.take(office.filled_xlsx({office.letters[0]: 1}, edit=clear))
    assert (report.answers, report.problems) == (1, [])


def test_task_is_refused_when_nobody_says_whose_it_is(office):
    rows = [row[:-1] for row in with_ranks(office, "1", "2", "3")]
    (problem,) = office.take(office.write(rows)).problems
    assert "says no annotator" in problem.problem
    assert ranked(office, office.write(rows), read=ReadOptions(annotator="ann1")) == [1, 2, 3]


@pytest.mark.parametrize("file", ["csv", "xlsx"])
def test_name_in_the_file_counts_when_another_is_given_for_files_without_one(office, file):
    typed = dict(zip(office.letters, (1, 2, 3), strict=True))
    back = office.filled_csv(typed) if file == "csv" else office.filled_xlsx(typed)
    office.take(back, read=ReadOptions(annotator="ben"))
    assert [answer.annotator for answer in read_answers(office.answers)] == ["ann1"]


@pytest.mark.parametrize("file", ["csv", "xlsx"])
def test_name_in_the_file_is_looked_up_when_users_are_given(office, file):
    typed = dict(zip(office.letters, (1, 2, 3), strict=True))
    back = office.filled_csv(typed) if file == "csv" else office.filled_xlsx(typed)
    office.take(back, read=ReadOptions(users={"ann1": "Ann of Berlin"}))
    (answer,) = read_answers(office.answers)
    assert (answer.annotator, answer.source["annotator_raw"]) == ("Ann of Berlin", "ann1")


def test_ranking_is_kept_and_flagged_when_it_cannot_be_judged(office):
    rows = with_ranks(office, "1", "2", "3")
    rows[1][6] = "Cannot judge"
    assert ranked(office, office.write(rows)) == [1, 2, 3]
    (answer,) = read_answers(office.answers)
    assert (answer.status, answer.flags) == ("flagged", ("cannot_judge",))


def bomb(size):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/sharedStrings.xml", b" " * size)
    return stream.getvalue()


@pytest.mark.parametrize("data, words", [
    (b"PK\x03\x04 and no more", "is a torn or damaged workbook"),
    (bomb(300 * 2**20), "300 MiB unpacked; 256 MiB are allowed"),
    (bomb(10), "is not a readable workbook"),
    (b"\xd0\xcf\x11\xe0 old", "is an old .xls file, or protected by a password"),
], ids=["torn", "bomb", "no workbook", "old"])  # fmt: skip
def test_workbook_is_refused_when_it_is_none(office, data, words):
    path = office.folder / "back.xlsx"
    path.write_bytes(data)
    with pytest.raises(DataError, match=words):
        office.take(path, tool="xlsx")
    assert not (office.answers / "rankings.jsonl").exists()


def rewritten(workbook, change):
    """The workbook with another text for its second sheet."""
    with zipfile.ZipFile(workbook) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet2.xml"
    changed = change(parts[sheet].decode())
    assert changed != parts[sheet].decode()
    with zipfile.ZipFile(workbook, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, changed if name == sheet else data)
    return workbook


def test_workbook_is_refused_when_its_entities_grow(office):
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    back = rewritten(
        office.filled_xlsx({}),
        lambda text: f'<!DOCTYPE worksheet [<!ENTITY e0 "lol">{entities}]>' + text.replace("task_no", "&e9;", 1),
    )
    with pytest.raises(DataError, match="is not a readable workbook"):
        office.take(back)


def test_workbook_is_refused_when_rows_are_farther_below_than_a_spreadsheet_has(office, monkeypatch):
    monkeypatch.setattr("stages.exchange.table.MAX_ROWS", 10_000)  # the same in less time
    back = rewritten(office.filled_xlsx({}), lambda text: text.replace('<row r="4"', '<row r="900000000"'))
    with pytest.raises(DataError, match="more than 10,000 rows in sheet 'Tasks'"):
        office.take(back)
