"""Files of other layouts, read by a map of columns."""

from __future__ import annotations

import pytest
from made_up_batch import made_up_batch
from openpyxl import Workbook
from people import Office, ranks_of

from pipeline.errors import DataError
from stages.exchange import mapped
from stages.exchange.tools import ReadOptions
from stages.returns.take import read_answers

WIDE = {"annotator": "WorkerId", "task_id": "Input.task_id", "rank.{label}": "Answer.rank_{label}"}
IDS = {"id.{label}": "Input.id_{label}"}
LONG = {"annotator": "who", "task_id": "task", "completion_id": "completion", "rank": "place"}
WINNER = {"annotator": "who", "task_id": "task", "winner": "choice"}


@pytest.fixture
def office(tmp_path):
    """A task of two, and one of three."""
    return Office(tmp_path, made_up_batch([["a", "b"], ["c", "d", "e"]]))


def read(columns):
    return {"read": ReadOptions(columns=columns)}


def ranks(office, task):
    given = ranks_of(office)[office.batch.tasks[task].task_id]
    return [given.get(name) for name in office.batch.tasks[task].ids]


def test_wide_rows_are_read_by_label_when_their_ids_are_in_the_row(office):
    two, three = office.batch.tasks
    head = [
        "HITId",
        "WorkerId",
        "Input.task_id",
        *(f"Input.id_{x}" for x in "ABC"),
        *(f"Answer.rank_{x}" for x in "ABC"),
    ]
    back = office.write([
        head,
        ["h1", "ann1", two.task_id, two.ids[1], two.ids[0], "", "1", "2", ""],
        ["h2", "ann1", three.task_id, three.ids[2], three.ids[0], three.ids[1], "1", "", "3.0"],
    ])  # fmt: skip
    report = office.take(back, **read(WIDE | IDS))
    assert (report.problems, ranks(office, 0), ranks(office, 1)) == ([], [2, 1], [None, 2, 1])
    assert read_answers(office.answers)[1].shown == (three.ids[2], three.ids[0], three.ids[1])
    assert report.files[0].notes == () or report.files[0].notes == []


def test_letters_mean_the_order_of_the_batch_when_the_row_has_no_ids_and_that_is_said(office):
    back = office.write([["WorkerId", "Input.task_id", "Answer.rank_a", "Answer.rank_b"],
                         ["ann1", office.batch.tasks[0].task_id, 2, 1]])  # fmt: skip
    report = office.take(back, **read(WIDE))
    assert ranks(office, 0) == [2, 1]
    assert "in the order of tasks.jsonl" in report.files[0].notes[0]


def test_letters_mean_the_order_shown_when_a_column_says_it(office):
    task = office.batch.tasks[1]
    shown = f'["{task.ids[2]}", "{task.ids[0]}", "{task.ids[1]}"]'
    back = office.write([["who", "task", "order", "seen"], ["ann1", task.task_id, "A > C = 2", shown]])
    columns = {"annotator": "who", "task_id": "task", "ranking": "order", "shown": "seen"}
    office.take(back, **read(columns))
    assert ranks(office, 1) == [2, 2, 1]


def test_long_rows_of_a_workbook_are_gathered_whatever_their_order(office):
    task = office.batch.tasks[1]
    book = Workbook()
    book.active.append(["made by a script"])
    book.active.append(["Place", "Completion", "Task", "Who"])
    for place, name in ((3, 0), (None, 1), (1.0, 2)):
        book.active.append([place, task.ids[name], task.task_id, "ann1"])
    book.save(office.folder / "long.xlsx")
    report = office.take(office.folder / "long.xlsx", **read(LONG))
    assert (report.files[0].counts, ranks(office, 1)) == ({"taken": 1}, [2, None, 1])


@pytest.mark.parametrize("choice, expected", [
    ("A", [1, 2]), ("b", [2, 1]), ("1", [1, 2]), ("left", [1, 2]), ("Right", [2, 1]), ("model_b", [2, 1]),
    ("tie", [1, 1]), ("tie (bothbad)", [1, 1]), ("response 2", [2, 1]),
])  # fmt: skip
def test_winner_of_two_is_read_in_the_words_people_use(office, choice, expected):
    back = office.write([["who", "task", "choice"], ["ann1", office.batch.tasks[0].task_id, choice]])
    office.take(back, **read(WINNER))
    assert ranks(office, 0) == expected
    assert (read_answers(office.answers)[0].flags == ("all_bad",)) == ("bad" in choice)


def test_left_is_the_first_id_of_the_row_and_strength_has_no_sign(office):
    task = office.batch.tasks[0]
    back = office.write([["who", "task", "choice", "l", "r", "how much"],
                         ["ann1", task.task_id, "left", task.ids[1], task.ids[0], "-2"]])  # fmt: skip
    office.take(back, **read(WINNER | {"id.L": "l", "id.R": "r", "strength": "how much"}))
    assert (ranks(office, 0), read_answers(office.answers)[0].strength) == ([2, 1], 2)


def test_winner_is_refused_when_the_task_has_more_than_two(office):
    back = office.write([["who", "task", "choice"], ["ann1", office.batch.tasks[1].task_id, "A"]])
    (problem,) = office.take(back, **read(WINNER)).problems
    assert problem.problem == "chooses between two; the task has 3 completions"


def test_time_seconds_status_flags_and_comment_are_read(office):
    task = office.batch.tasks[0].task_id
    head = ["who", "task", "order", "at", "secs", "state", "tags", "said"]
    back = office.write([
        head,
        ["ann1", task, "A>B", "Mon Nov 23 10:00:00 PST 2026", "12,5", "Approved", "Unsafe", "so so"],
        ["ann2", task, "B>A", "", "", "Rejected", "", ""],
        ["ann3", task, "", "", "", "skipped", "", "cannot read it"],
        ["ann4", task, "", "", "", "", "", ""],
    ])  # fmt: skip
    report = office.take(back, **read({
        "annotator": "who", "task_id": "task", "ranking": "order", "submitted_at": "at", "active_seconds": "secs",
        "status": "state", "flags": "tags", "comment": "said",
    }))  # fmt: skip
    first, third = read_answers(office.answers)
    assert (first.submitted_at, first.active_seconds, first.flags) == ("2026-11-23T18:00:00.000000Z", 12.5, ("unsafe",))
    assert (third.status, third.skip_reason) == ("skipped", "cannot read it")
    assert report.files[0].ignored == {"status rejected": 1, "not answered": 1}
    assert report.files[0].total == 4


@pytest.mark.parametrize("row, words", [
    (["ann1", "t_other000", "1", "2", ""], "which is no task of"),
    (["ann1", "T0", "1", "4", ""], "a whole number from 1 (best) to 2"),
    (["ann1", "T0", "1", "2", "1"], "ranks 'c', which is no completion of the task"),
    (["", "T0", "1", "2", ""], "says no annotator"),
])  # fmt: skip
def test_row_is_refused_and_the_others_taken(office, row, words):
    row = [office.batch.tasks[0].task_id if cell == "T0" else cell for cell in row]
    head = ["WorkerId", "Input.task_id", *(f"Answer.rank_{x}" for x in "ABC")]
    good = ["ann2", office.batch.tasks[1].task_id, "1", "2", "3"]
    report = office.take(office.write([head, row, good]), **read(WIDE))
    assert [words in problem.problem for problem in report.problems] == [True]
    assert (report.exit_code, report.answers) == (2, 1)


@pytest.mark.parametrize("columns, words", [
    ({"annotator": "who"}, "no column for task_id"),
    ({"task_id": "task"}, "no column for annotator"),
    ({"annotator": "who", "task_id": "task"}, "no ranks are mapped"),
    ({"annotator": "who", "task_id": "task", "rank": "place"}, "no ranks are mapped"),
    (LONG | {"ranking": "who"}, "ranking; completion_id and rank are mapped"),
    (LONG | {"completion_id": "complection"}, "no column 'complection'"),
    (WIDE | {"annotator": "who", "task_id": "task"}, "no column looks like 'Answer.rank_{label}'"),
    (LONG | {"annotater": "who"}, "there is no field 'annotater'"),
])  # fmt: skip
def test_map_is_refused_when_it_cannot_be_meant(office, columns, words):
    back = office.write([["who", "task", "completion", "place"], ["ann1", "t", "c", "1"]])
    with pytest.raises(DataError) as error:
        office.take(back, **read(columns))
    assert words in str(error.value) and error.value.remedy


@pytest.mark.parametrize("options, names", [
    ({}, ["w7", ""]), ({"annotator": "ben"}, ["w7", "ben"]), ({"users": {"w7": "ann2"}}, ["ann2", ""]),
    ({"annotator": "w7", "users": {"w7": "ann2"}}, ["ann2", "ann2"]),
])  # fmt: skip
def test_name_of_a_row_is_its_own_then_the_one_given_and_looked_up_among_the_users(office, options, names):
    two, three = (task.task_id for task in office.batch.tasks)
    back = office.write([["who", "task", "choice"], ["w7", two, "A>B"], ["", three, "A>B>C"]])
    columns = {"annotator": "who", "task_id": "task", "ranking": "choice"}
    read = mapped.read(back, office.batch, ReadOptions(columns=columns, **options))
    assert [answer.annotator for answer in read.answers] == names


def test_file_is_refused_when_a_row_is_of_another_batch(office):
    back = office.write([["who", "task", "order", "batch"], ["ann1", "t", "A>B", "b_another0"]])
    with pytest.raises(DataError, match="is of batch b_another0"):
        office.take(back, **read({"annotator": "who", "task_id": "task", "ranking": "order", "batch_id": "batch"}))
