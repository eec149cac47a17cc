"""The import rules, one test or more a row of their table."""

from __future__ import annotations

import fcntl
import json
import shutil
from dataclasses import replace

import pytest
from made_up_batch import SECRET, made_up_batch
from people import Office, ranks_of

from pipeline.errors import DataError
from stages.annotation.answers import read_log
from stages.annotation.schema import opaque
from stages.returns.take import read_answers


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


def everything(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "import.lock"}


def order_of(office, task=1, who="ann1"):
    """The recorded order of a task of the batch, as letters of its completions' order."""
    ranks = ranks_of(office, who)[office.batch.tasks[task].task_id]
    return [ranks.get(name) for name in office.batch.tasks[task].ids]


# same file again


def test_second_import_does_nothing_when_the_file_is_the_same(office):
    path, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    office.take(path, **how)
    before = everything(office.answers)
    renamed = path.rename(path.with_name("a (1).csv"))
    report = office.take(renamed, **how)
    assert (report.files[0].already, report.exit_code, report.answers) == (True, 0, 1)
    assert everything(office.answers) == before


def test_file_given_twice_in_one_call_is_taken_once(office):
    path, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    assert [one.already for one in office.take(path, path, **how).files] == [False, True]


def test_raw_file_is_kept_under_its_hash(office):
    path, how = office.orders("my answers.csv", ("ann1", 1, "A>B>C", ""))
    report = office.take(path, **how)
    (kept,) = (office.answers / "returns").iterdir()
    assert kept.name == f"{report.files[0].sha256}__my_answers.csv"
    assert kept.read_bytes() == path.read_bytes()


def test_earlier_reading_is_withdrawn_when_a_file_is_read_with_other_names(office):
    path, how = office.orders("a.csv", ("worker 7", 1, "A>B>C", ""))
    office.take(path, **how)
    report = office.take(path, **how, aliases={"Worker 7": "ann2"})
    assert [(one.annotator, one.status) for one in read_answers(office.answers)] == [("ann2", "ranked")]
    assert report.files[0].counts == {"taken": 1}


# the same answer, another answer


def test_same_answer_from_another_file_is_a_duplicate(office):
    first, how = office.orders("a.csv", ("ann1", 1, "A>B>C", "2026-11-01T10:00:00Z"))
    second, _ = office.orders("b.csv", ("ann1", 1, "A > B > C", "2026-11-02T10:00:00Z"))
    office.take(first, **how)
    assert office.take(second, **how).files[0].counts == {"duplicate": 1}
    assert [one.submitted_at for one in read_answers(office.answers)] == ["2026-11-01T10:00:00.000000Z"]


@pytest.mark.parametrize("names", [("old", "new"), ("new", "old")])
def test_later_answer_stands_whichever_file_comes_first(office, names):
    files = {"old": office.orders("old.csv", ("ann1", 1, "A>B>C", "2026-11-01T23:30:00-02:00"))[0],
             "new": office.orders("new.csv", ("ann1", 1, "C>B>A", "2026-11-02T02:00:00Z"))[0]}  # fmt: skip
    how = office.orders("x.csv")[1]
    reports = [office.take(files[name], **how) for name in names]
    (answer,) = read_answers(office.answers)
    assert order_of(office) == [3, 2, 1]
    assert [list(row["ranks"].values()) for row in answer.superseded] == [[1, 2, 3]]
    assert reports[1].files[0].counts == {"replaced" if names[1] == "new" else "older": 1}


def test_import_stops_when_answers_differ_and_no_time_tells(office):
    first, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    second, _ = office.orders("b.csv", ("ann1", 1, "C>B>A", ""), ("ann1", 0, "A>B", ""))
    office.take(first, **how)
    before = everything(office.answers)
    with pytest.raises(DataError, match="no time tells which is newer") as error:
        office.take(second, **how)
    assert "--on-conflict newest-file" in error.value.remedy and "keep-first" in error.value.remedy
    assert everything(office.answers) == before


@pytest.mark.parametrize("choice, order, outcome", [
    ("newest-file", [3, 2, 1], "replaced"), ("keep-first", [1, 2, 3], "older"),
])  # fmt: skip
def test_one_answer_stands_and_the_other_is_kept_when_somebody_said_which(office, choice, order, outcome):
    first, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    second, _ = office.orders("b.csv", ("ann1", 1, "C>B>A", ""))
    office.take(first, **how)
    assert office.take(second, **how, on_conflict=choice).files[0].counts == {outcome: 1}
    assert order_of(office) == order
    assert [sorted(row["ranks"].values()) for row in read_answers(office.answers)[0].superseded] == [[1, 2, 3]]


def test_older_file_does_not_come_back_when_all_files_are_imported_again(office):
    first, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    second, _ = office.orders("b.csv", ("ann1", 1, "C>B>A", ""))
    for _ in range(2):
        office.take(first, second, **how, on_conflict="newest-file")
    assert order_of(office) == [3, 2, 1]
    assert len(read_answers(office.answers)[0].superseded) == 1


def test_import_stops_when_one_file_says_two_things(office):
    path, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""), ("Ann1", 1, "B>A>C", ""))
    with pytest.raises(DataError, match="no time tells"):
        office.take(path, **how)


# wrong batch, wrong digest


def other_batch(tmp_path):
    made = made_up_batch()
    other = opaque(SECRET, "b", "another")
    return Office(tmp_path / "other", replace(made, batch_id=other, tasks=tuple(
        replace(task, batch_id=other) for task in made.tasks)))  # fmt: skip


@pytest.mark.parametrize("tool", ["xlsx", "csv"])
def test_file_of_another_batch_is_refused_with_both_names(office, tmp_path, tool):
    other = other_batch(tmp_path)
    typed = {other.batch.tasks[0].ids[0]: 1}
    back = other.filled_xlsx(typed) if tool == "xlsx" else other.filled_csv(typed)
    with pytest.raises(DataError, match=f"is of batch {other.batch.batch_id}; {office.batch.batch_id} is expected"):
        office.take(back)
    assert everything(office.answers) == {}


@pytest.mark.parametrize("tool", ["xlsx", "csv"])
def test_file_is_refused_when_the_same_ids_had_other_texts(office, tmp_path, tool):
    texts = [[f"Answer {n} to question {number}!" for n in range(number + 2)] for number in range(4)]
    other = Office(tmp_path / "other", made_up_batch(texts))
    assert other.batch.batch_id == office.batch.batch_id
    typed = {other.batch.tasks[0].ids[0]: 1}
    back = other.filled_xlsx(typed) if tool == "xlsx" else other.filled_csv(typed)
    with pytest.raises(DataError, match=r"is expected|or the file is of another batch"):
        office.take(back)
    assert everything(office.answers) == {}


# edited ids, ranks out of range, duplicates


def edited(office, task_row, column, value, name="back.csv"):
    """ann1's file with every task ranked and one cell changed: rows 1-2 are the first task, 3-5 the second."""
    rows = office.csv_rows()
    for row in rows[1:]:
        row[4] = "1"
    rows[task_row][column] = value
    return office.write(rows, name)


@pytest.mark.parametrize("column, value, words, title", [
    (8, "c_00000000", "which the task does not have", "completion_id"),
    (8, "12345678", "which the task does not have", "completion_id"),
    (4, "3", "from 1 (best) to 2", "rank"),
    (4, "good", "is 'good'", "rank"),
    (0, "9", "one of them was edited or moved", "row_check"),
    (9, "", "one of them was edited or moved", "row_check"),
])  # fmt: skip
def test_task_is_refused_and_the_rest_taken_when_a_cell_was_edited(office, column, value, words, title):
    report = office.take(edited(office, 1, column, value))
    (problem,) = report.problems
    assert words in problem.problem and f"({title})" in problem.where
    assert (report.exit_code, report.answers, report.files[0].total) == (2, 3, 4)


def test_unknown_task_and_the_task_that_lost_a_row_are_both_told(office):
    report = office.take(edited(office, 1, 7, "t_00000000"))
    assert [problem.problem for problem in report.problems] == ["is 't_00000000', which is no task of "
                                                               + office.batch.batch_id]  # fmt: skip
    assert [answer.status for answer in read_answers(office.answers)] == ["partial", "ranked", "ranked", "ranked"]


def test_task_is_refused_when_a_row_is_there_twice(office):
    rows = office.csv_rows()
    for row in rows[1:]:
        row[4] = "1"
    report = office.take(office.write([*rows, rows[1]]))
    assert [problem.problem.endswith("which is there twice") for problem in report.problems] == [True]
    assert (report.exit_code, report.answers) == (2, 3)


def test_whole_file_is_refused_when_strict(office):
    with pytest.raises(DataError, match="1 problems, and --strict") as error:
        office.take(edited(office, 1, 4, "good"), strict=True)
    assert "row 2, column E (rank)" in str(error.value)
    assert everything(office.answers) == {}


def test_mended_file_adds_the_task_that_was_refused(office):
    office.take(edited(office, 1, 4, "good"))
    report = office.take(edited(office, 1, 4, "1", "mended.csv"))
    assert (report.files[0].counts, report.answers) == ({"taken": 1, "duplicate": 3}, 4)


# partial, half-finished, all tied


def test_partial_ranking_is_kept_and_says_nothing_of_the_others(office):
    task = office.batch.tasks[1]
    office.take(office.filled_csv({task.ids[0]: 3, task.ids[2]: 1}))
    (answer,) = read_answers(office.answers)
    assert (answer.status, dict(answer.ranks)) == ("partial", {task.ids[0]: 2, task.ids[2]: 1})


def test_half_finished_file_gives_what_is_done_and_counts_the_rest(office):
    typed = {name: 1 for task in office.batch.tasks[:3] for name in task.ids}
    report = office.take(office.filled_csv(typed))
    assert report.files[0].counts == {"taken": 3}
    assert report.files[0].ignored == {"not answered yet": 1}


def test_all_tied_and_all_bad_are_kept(office):
    rows = office.csv_rows()
    for row in rows[1:3]:
        row[4] = "1"
    rows[3][6] = "all_bad"
    office.take(office.write(rows))
    tied, bad = read_answers(office.answers)
    assert (tied.status, set(tied.ranks.values())) == ("ranked", {1})
    assert (bad.status, bad.flags, dict(bad.ranks)) == ("flagged", ("all_bad",), {})


# names


def test_spellings_of_a_name_are_one_annotator_and_are_listed(office):
    path, how = office.orders(
        "a.csv", ("Ann1 ", 0, "A>B", ""), ("ANN1", 1, "A>B>C", ""), ("ann1", 2, "A>B>C>D", ""), ("Bea", 3, "A>B", "")
    )
    report = office.take(path, **how, aliases={"bea": "ann2"})
    assert [one.annotator for one in read_answers(office.answers)] == ["ann1", "ann1", "ann1", "ann2"]
    assert report.files[0].merged == {"ANN1": "ann1", "Ann1": "ann1", "Bea": "ann2"}


def test_name_is_found_again_when_a_spreadsheet_made_a_number_of_it(tmp_path):
    office = Office(tmp_path, made_up_batch(annotators=["007", "ann"]))
    path, how = office.orders("a.csv", ("7", 0, "A>B", ""))
    office.take(path, **how)
    assert [one.annotator for one in read_answers(office.answers)] == ["007"]


def test_answer_is_refused_when_a_name_fits_two_annotators(tmp_path):
    office = Office(tmp_path, made_up_batch(annotators=["Ann", "ANN"]))
    path, how = office.orders("a.csv", ("ann", 0, "A>B", ""), ("Ann", 1, "A>B", ""))
    (problem,) = office.take(path, **how).problems
    assert problem.problem == "'ann' may be Ann or ANN"


def test_name_in_the_alias_map_is_that_of_the_batch_when_only_its_spelling_differs(tmp_path):
    office = Office(tmp_path, made_up_batch(annotators=["ann", "ben"]))
    path, how = office.orders("a.csv", ("7", 0, "A>B", ""), ("ANN", 1, "A>B>C", ""), ("ben", 2, "A>B>C>D", ""))
    report = office.take(path, **how, aliases={"7": "Ann"})
    assert report.problems == []
    assert [one.annotator for one in read_answers(office.answers)] == ["ann", "ann", "ben"]


def test_alias_map_is_refused_when_its_name_fits_two_annotators(tmp_path):
    office = Office(tmp_path, made_up_batch(annotators=["Ann", "ANN"]))
    path, how = office.orders("a.csv", ("7", 0, "A>B", ""))
    with pytest.raises(DataError, match="'ann' may be Ann or ANN") as error:
        office.take(path, **how, aliases={"7": "ann"})
    assert error.value.where == "--aliases"


def test_name_that_the_batch_does_not_know_is_taken_and_told(office):
    path, how = office.orders("a.csv", ("Worker X", 0, "A>B", ""))
    report = office.take(path, **how)
    assert report.answers == 1
    assert "not among the annotators of the batch: Worker X" in report.files[0].notes


# files that are none


@pytest.mark.parametrize("data, words", [
    (b'\xef\xbb\xbf{"a": [1,\r\n 2', "at line 2, byte 16"),
    (b'{"a":\x00 1}', "a NUL byte at line 1, byte 5"),
    (b"", "is empty"),
    (b"[" * 100_000, "nests too deep|ends or breaks"),
    (b"hello", "is of no tool that is known"),
    (b"\x81\xff\xfe", "neither UTF-8 nor Windows-1252"),
], ids=["torn", "nul", "empty", "deep", "other", "binary"])  # fmt: skip
def test_nothing_is_written_when_a_file_is_none(office, data, words):
    bad = office.folder / "bad.json"
    bad.write_bytes(data)
    with pytest.raises(DataError, match=words):
        office.take(office.filled_csv({office.batch.tasks[0].ids[0]: 1}), bad)
    assert everything(office.answers) == {}


def test_import_is_refused_when_the_file_or_tool_is_not_there(office):
    with pytest.raises(DataError, match="cannot be read"):
        office.take(office.folder / "none.csv")
    with pytest.raises(DataError, match="there is no reader 'exel'"):
        office.take(office.filled_csv({}), tool="exel")


# nothing half-written


def test_import_is_refused_when_another_one_holds_the_folder(office):
    office.answers.mkdir()
    with (office.answers / "import.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another import is writing here"):
            office.take(office.filled_csv({}))
    assert office.take(office.filled_csv({office.batch.tasks[0].ids[0]: 1})).answers == 1


def test_import_is_done_again_when_it_was_cut_off_before_the_log(office):
    path, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    office.take(path, **how)
    before = (office.answers / "rankings.jsonl").read_bytes()
    (office.answers / "import_log.jsonl").unlink()
    (office.answers / ".rankings.jsonl.tmp").write_text('{"torn')
    report = office.take(path, **how)
    assert (report.files[0].already, report.answers) == (False, 1)
    assert (office.answers / "rankings.jsonl").read_bytes() == before
    assert not (office.answers / ".rankings.jsonl.tmp").exists()


def test_answers_are_whole_when_the_disk_is_full_at_the_end(office, monkeypatch):
    first, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    second, _ = office.orders("b.csv", ("ann1", 0, "A>B", ""))
    office.take(first, **how)
    before = (office.answers / "rankings.jsonl").read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        office.take(second, **how)
    assert (office.answers / "rankings.jsonl").read_bytes() == before
    assert not list(office.answers.rglob("*.tmp"))


def test_log_has_a_line_a_file_with_hash_counts_and_problems(office):
    report = office.take(edited(office, 1, 4, "good"))
    (line,) = read_log(office.answers)
    assert line["sha256"] == report.files[0].sha256 and line["tool"] == "csv"
    assert line["counts"] == {"taken": 3, "problems": 1, "ignored": {}}
    assert line["problems"][0]["where"].endswith("row 2, column E (rank)")


# rankings.jsonl read back


def test_unknown_fields_of_an_answer_are_kept_when_others_are_added(office):
    first, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    second, _ = office.orders("b.csv", ("ann1", 0, "A>B", ""))
    office.take(first, **how)
    path = office.answers / "rankings.jsonl"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mood": "sunny"}) + "\n")
    office.take(second, **how)
    assert json.loads(path.read_text().splitlines()[0])["mood"] == "sunny"


@pytest.mark.parametrize("change, words", [
    ({"schema": "pref.ranking/2"}, "update posttune"), ({"ranks": {"c_abcdefgh": "1"}}, "ranks.c_abcdefgh"),
    ({"status": "done"}, "status"), ({"annotator": ""}, "annotator"), ({"task_id": "7"}, "task_id"),
])  # fmt: skip
def test_answers_are_refused_with_their_row_when_edited_into_something_else(office, change, words):
    path, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    office.take(path, **how)
    rankings = office.answers / "rankings.jsonl"
    rankings.write_text(json.dumps({**json.loads(rankings.read_text()), **change}))
    with pytest.raises(DataError) as error:
        read_answers(office.answers)
    assert error.value.where == f"{rankings}:row 1" and words in str(error.value)


def test_torn_rankings_are_refused_and_left_as_they_are(office):
    path, how = office.orders("a.csv", ("ann1", 1, "A>B>C", ""))
    office.take(path, **how)
    rankings = office.answers / "rankings.jsonl"
    rankings.write_bytes(rankings.read_bytes()[:-20])
    with pytest.raises(DataError, match="is not JSON"):
        office.take(office.filled_csv({}))
    shutil.rmtree(office.answers)
    assert read_answers(office.answers) == ()


def test_page_and_sheet_are_told_apart_and_meet_in_one_record(office):
    batch, task = office.batch, office.batch.tasks[1]
    answer = {"task_id": task.task_id, "status": "ranked", "ranks": dict(zip(task.ids, (1, 2, 3), strict=True)),
              "submitted_at": "2026-11-02T10:00:00Z"}  # fmt: skip
    head = {"schema": "pref.rankings/1", "batch_id": batch.batch_id, "batch_digest": batch.digest, "annotator": "ann1"}
    page = {
        **head,
        "page_version": "1.0",
        "exported_at": "2026-11-02T10:00:00Z",
        "complete": False,
        "answers": [answer],
    }
    path = office.folder / "ann1.rankings.json"
    path.write_text(json.dumps(page))
    report = office.take(path, office.filled_csv(dict(zip(task.ids, (2, 3, 3), strict=True)) | {task.ids[2]: ""}),
                         on_conflict="newest-file")  # fmt: skip
    assert [(one.tool, one.counts) for one in report.files] == [("html", {"taken": 1}), ("csv", {"replaced": 1})]
    (stands,) = read_answers(office.answers)
    assert (stands.status, len(stands.superseded)) == ("partial", 1)
