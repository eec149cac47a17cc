"""What Argilla's REST records may hold beside a clean answer, and what is pushed to it."""

from __future__ import annotations

import json
import runpy
from types import SimpleNamespace

import pytest
from tool_batch import batch_of

from pipeline.errors import DataError
from stages.exchange import argilla
from stages.exchange.tools import ExportOptions, ReadOptions

BATCH = batch_of(3)
TASK = BATCH.tasks[0]
A, B, C = sorted(TASK.ids)


def ranking(*ranks):
    return {"ranking": {"value": [{"value": f"completion_{n}", "rank": rank} for n, rank in enumerate(ranks, 1)]}}


def record(*responses, **changes):
    metadata = {"batch_id": BATCH.batch_id, "completion_ids": f"{A},{B},{C}"}
    whole = [{"id": str(n), "user_id": f"u{n}", "status": "submitted", "updated_at": "2026-11-23T18:05:49", **one}
             for n, one in enumerate(responses)]  # fmt: skip
    return {"external_id": TASK.task_id, "fields": {}, "metadata": metadata, "responses": whole, **changes}


def read(tmp_path, *records, **page):
    path = tmp_path / "records.json"
    path.write_text(json.dumps({"items": list(records), **page}), "utf-8")
    return argilla.read(path, BATCH, ReadOptions())


def test_answer_has_ranks_flags_and_comment_when_submitted(tmp_path):
    values = {**ranking(2, 2, 3), "flags": {"value": ["unsafe", "ok"]}, "comment": {"value": "why"},
              "rating_2": {"value": 7}}  # fmt: skip
    (answer,) = read(tmp_path, record({"values": values})).answers
    assert (answer.ranks, answer.flags, answer.comment) == ({A: 1, B: 1, C: 2}, ("unsafe",), "why")
    assert (answer.ratings, answer.shown, answer.annotator) == ({B: {"overall": 7.0}}, (A, B, C), "u0")
    assert answer.submitted_at == "2026-11-23T18:05:49.000000Z"  # its times have no zone and are UTC


def test_responses_are_sorted_by_status_when_some_were_not_submitted(tmp_path):
    discarded, draft = {"status": "discarded", "values": ranking(1, 2, 3)}, {"status": "draft", "values": {}}
    returned = read(tmp_path, record(discarded, draft), record())
    assert [(answer.status, answer.ranks, answer.skip_reason) for answer in returned.answers] == [("skipped", {}, None)]
    assert returned.ignored == {"a draft that was not submitted": 1, "a record without responses": 1}


@pytest.mark.parametrize("values, reason", [
    (ranking(1, 2, 3, 4), "ranks 'completion_4'; completion_1 to completion_3"),
    (ranking(1, 2, 4), "out of 1 to 3"),
    (ranking(1, None, 2), "without a rank"),
    ({"ranking": {"value": ["completion_1", {"value": "completion_2", "rank": 1}]}}, "without a rank"),
    ({**ranking(1, 2, 3), "other": ranking(1, 2, 3)["ranking"]}, "several ranking questions"),
])  # fmt: skip
def test_response_is_a_problem_with_its_place_when_it_makes_no_sense(values, reason, tmp_path):
    returned = read(tmp_path, record({"values": values}, {"values": ranking(1, 2, 3)}))
    assert (len(returned.answers), len(returned.problems)) == (1, 1)
    assert reason in returned.problems[0].problem
    assert returned.problems[0].where.endswith("records.json:record 1, response 1")


@pytest.mark.parametrize("changes, reason", [
    ({"external_id": None}, "has no external_id"), ({"responses": None}, "fetched without its responses"),
    ({"external_id": "t_unknown1"}, "there is no task 't_unknown1'"), ({"metadata": {}}, "no completion_ids"),
])  # fmt: skip
def test_record_is_a_problem_when_it_cannot_be_placed(changes, reason, tmp_path):
    returned = read(tmp_path, record({"values": ranking(1, 2, 3)}, **changes))
    assert [reason in problem.problem for problem in returned.problems] == [True]


def test_missing_pages_are_told_when_there_are_more_records(tmp_path):
    assert "1 of the dataset's 3 records" in read(tmp_path, record(), total=3).notes[0]


def test_client_export_is_refused_when_its_first_record_has_no_answer(tmp_path):
    rows = [{"id": "t", "_server_id": "x", "responses": {}}]
    rows.append({"id": "u", "responses": {"ranking": [{"value": ["completion_1", "completion_2"]}]}})
    path = tmp_path / "sdk.json"
    path.write_text(json.dumps(rows), "utf-8")
    with pytest.raises(DataError, match=r"loses rankings.*argilla#5712"):
        argilla.read(path, BATCH, ReadOptions())


def test_records_name_their_completions_when_exported(tmp_path):
    argilla.export(batch_of(3, 2), tmp_path, ExportOptions())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["argilla_client.py", "howto.md", "k2", "k3"]
    (row,) = json.loads((tmp_path / "k3" / "records.json").read_text("utf-8"))
    assert row["id"] == TASK.task_id and row["metadata"]["completion_ids"] == f"{A},{B},{C}"
    assert row["fields"]["completion_2"].split()[0] == TASK.text(B).split()[0]
    assert json.loads((tmp_path / "k3" / "settings.json").read_text("utf-8"))["min_submitted"] == 2


def test_client_makes_settings_of_the_exported_file_when_run(tmp_path):
    argilla.export(BATCH, tmp_path, ExportOptions())
    client = runpy.run_path(str(tmp_path / "argilla_client.py"))
    kinds = ("Settings", "ChatField", "TextField", "RankingQuestion", "MultiLabelQuestion", "TextQuestion",
             "TaskDistribution")  # fmt: skip
    recorder = SimpleNamespace(**{kind: lambda kind=kind, **given: (kind, given) for kind in kinds})
    settings = json.loads((tmp_path / "k3" / "settings.json").read_text("utf-8"))
    _, made = client["dataset_settings"](recorder, settings)
    assert [kind for kind, _ in made["fields"]] == ["ChatField", "TextField", "TextField", "TextField"]
    assert not any(given["use_markdown"] for _, given in made["fields"])
    assert list(made["questions"][0][1]["values"]) == ["completion_1", "completion_2", "completion_3"]
