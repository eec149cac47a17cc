"""What the command line says of an export, an import and where a batch stands; and the schemas of the records."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_up_batch import POLICIES, made_up_batch
from people import Office

from pipeline.errors import DataError
from stages.annotation.schema import Assignment
from stages.annotation.status import status as count
from stages.annotation.validate import check
from stages.exchange.tools import EXPORTS
from stages.exchange.users import read_users
from stages.returns.commands import agreement, export, import_, rows, status
from stages.returns.take import read_answers


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path)


def test_files_are_named_when_exported(office):
    said = export(office.published, office.answers, to="csv")
    assert said.lines[0] == f"{office.batch.batch_id}: 2 files for csv"
    assert [line.strip() for line in said.lines[1:]] == [
        f"{office.answers}/export/csv/{office.batch.batch_id}__{name}.csv" for name in ("ann1", "ann2")
    ]


def test_only_what_is_left_is_exported_when_asked_for(office):
    typed = {name: 1 for task in office.batch.tasks for name in task.ids}
    office.take(office.filled_csv(typed))
    said = export(office.published, office.answers, to="xlsx", exclude_done=True)
    assert said.lines[0].endswith("1 file for xlsx") and said.lines[-1] == "  ann1 has nothing left to do"
    said = export(office.published, office.answers, to="csv", annotators=["ann1"], exclude_done=True)
    assert said.lines == [f"{office.batch.batch_id}: nothing is left to send out"]


def test_export_is_refused_with_the_nearest_name_when_unknown(office):
    with pytest.raises(DataError) as error:
        export(office.published, office.answers, to="xslx")
    assert "did you mean 'xlsx'?" in error.value.remedy


@pytest.mark.parametrize("tool", EXPORTS)
def test_every_export_writes_files_that_hold_no_policy(office, tool):
    said = export(office.published, office.answers, to=tool)
    written = [path for path in (office.answers / "export" / tool).rglob("*") if path.is_file()]
    assert written and said.lines[0].endswith(f"for {tool}")
    assert not [path for path in written for policy in POLICIES if policy.encode() in path.read_bytes()]


def test_export_is_refused_when_the_folder_cannot_be(office):
    (office.folder / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        export(office.published, office.answers, to="csv", folder=office.folder / "file")


def test_import_says_what_was_taken_and_what_was_refused_and_ends_with_two(office):
    first, second = office.batch.tasks[:2]
    back = office.filled_csv({first.ids[0]: 1, first.ids[1]: 2, second.ids[0]: "good"})
    said = import_(office.published, office.answers, files=[back])
    assert said.exit_code == 2
    assert said.lines[0] == f"{back} (csv): 4 in all; 1 taken, 1 refused, 2 left out (not answered yet)"
    assert "column E (rank): is 'good'" in said.lines[1]
    again = import_(office.published, office.answers, files=[back])
    assert (again.lines[:2], again.exit_code) == ([f"{back}: already imported", "1 answers at hand"], 0)


def test_status_counts_each_annotator_and_says_what_is_missing(office):
    first, second, third, fourth = office.batch.tasks
    rows = office.csv_rows()
    typed = {first.ids[0]: 1, first.ids[1]: 2, second.ids[0]: 1, second.ids[1]: 1}
    for row in rows[1:]:
        row[4], row[6] = typed.get(row[8], ""), "skip" if row[7] == third.task_id else ""
    office.take(office.write(rows))
    lines = status(office.published, office.answers).lines
    assert lines[:3] == [
        f"{office.batch.batch_id}: 4 tasks",
        "  ann1  1 done, 1 partial, 1 skipped, 1 left",
        "  ann2  0 done, 0 partial, 0 skipped, 4 left",
    ]
    assert lines[3].startswith("6 rankings are missing in 4 tasks: ") and f"{first.task_id} (1 of 2)" in lines[3]
    assert f"{fourth.task_id} (0 of 2)" in lines[3] and lines[4] == "waiting for ann1, ann2"


def test_batch_is_complete_when_every_task_has_the_rankings_wanted(office):
    office.take(office.filled_csv({name: 1 for task in office.batch.tasks for name in task.ids}))
    answers = read_answers(office.answers)
    assert count(office.batch, answers, 1).is_complete
    assert [one.wanted - one.has for one in count(office.batch, answers, 3).short] == [2] * 4
    assert count(office.batch, answers, 1).lines()[-1] == "every task has the rankings it wants"


def test_task_for_one_annotator_wants_one_ranking_when_nothing_is_said():
    batch = made_up_batch([["a", "b"], ["c", "d"]])
    shared, alone = batch.tasks
    own = (Assignment("ann1", shared.task_id, shared.ids), Assignment("ann2", shared.task_id, shared.ids),
           Assignment("ann1", alone.task_id, alone.ids))  # fmt: skip
    assert [one.wanted for one in count(replace(batch, assignments=own), []).short] == [2, 1]


@pytest.mark.parametrize("held, names", [
    ({"bea": "ann2"}, {"bea": "ann2"}),
    ([{"id": 7, "email": "a@x.org", "username": "a"}, {"id": 8, "username": "b"}], {"7": "a@x.org", "8": "b"}),
    ({"items": [{"id": "u-1", "username": "c"}]}, {"u-1": "c"}),
])  # fmt: skip
def test_names_are_read_from_a_map_and_from_a_servers_list(tmp_path, held, names):
    (tmp_path / "names.json").write_text(json.dumps(held))
    assert read_users(tmp_path / "names.json") == names


@pytest.mark.parametrize("text", ["{", "[]", "3", "{}", '[{"name": "x"}]', '{"a": ""}', "[" * 100_000])
def test_names_are_refused_when_the_file_names_nobody(tmp_path, text):
    (tmp_path / "names.json").write_text(text)
    with pytest.raises(DataError, match=r"names nobody|no JSON|cannot be read|no user with an id|has no name"):
        read_users(tmp_path / "names.json")


def test_every_line_of_a_published_batch_and_its_answers_is_of_its_schema(office):
    office.take(office.filled_csv({office.batch.tasks[0].ids[0]: 1}))
    files = {"tasks.jsonl": "pref.task/1", "key.jsonl": "pref.key/1", "assign.jsonl": "pref.assignment/1"}
    for name, schema in files.items():
        for line in (office.published / name).read_text().splitlines():
            check(json.loads(line), schema, name)
    check(json.loads((office.published / "batch.json").read_text()), "pref.batch/1", "batch.json")
    check(json.loads((office.answers / "rankings.jsonl").read_text()), "pref.ranking/1", "rankings.jsonl")


@pytest.mark.parametrize("field, value", [
    ("task_id", "t_1"), ("completions", [{"id": "c_abcdefgh", "text": "alone"}]), ("messages", []),
    ("task_digest", "md5:0"),
])  # fmt: skip
def test_task_is_refused_with_its_field_when_not_of_its_schema(field, value):
    row = made_up_batch().tasks[0].as_row() | {field: value}
    with pytest.raises(DataError, match=field):
        check(row, "pref.task/1", "tasks.jsonl:row 1")


def test_rows_are_made_when_a_file_is_imported_and_anew_when_somebody_is_left_out(office):
    first = office.batch.tasks[0]
    import_(office.published, office.answers, files=[office.filled_csv({first.ids[0]: 2, first.ids[1]: 1})])
    made = office.answers / "comparisons.jsonl"
    (row,) = map(json.loads, made.read_text("utf-8").splitlines())
    assert row["completions"] == [completion.text for completion in first.completions]
    assert row["rankings"] == [{"annotator": "ann1", "ranks": [2, 1, *[None] * (len(first.ids) - 2)]}]
    rows(office.published, office.answers, exclude=["ann1"])
    assert made.read_text("utf-8") == ""
    assert rows(office.published, office.answers).lines[0].startswith("0 comparisons from 0 of 1 answers")


def test_agreement_is_told_and_kept(office):
    assert agreement(office.published, office.answers).lines == ["nothing has come back yet"]
    office.take(
        office.filled_csv({name: 1 + place for task in office.batch.tasks for place, name in enumerate(task.ids)})
    )
    assert "ann1" in agreement(office.published, office.answers).lines[0]
    assert json.loads((office.answers / "agreement.json").read_text("utf-8"))
