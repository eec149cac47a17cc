"""Exports that the real tools wrote, read to the rankings that a person reads off them; needs POSTTUNE_TEST_DATA."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest
from tool_batch import batch_from_label_studio, from_tasks

from pipeline.errors import DataError
from stages.annotation.schema import Shown, Task
from stages.exchange import argilla, label_studio, label_studio_file, potato
from stages.exchange.tools import ReadOptions
from stages.exchange.users import read_users

DATA = Path(os.environ.get("POSTTUNE_TEST_DATA", "/nowhere"))
SAMPLES = DATA / "annotation_samples"
pytestmark = pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")

# (task, user number) -> ranks, read off the JSON files; newest last where one person answered twice
PAIRS = [
    ("t-0001", "1", {"c-a1": 1, "c-b2": 2}), ("t-0001", "2", {"c-a1": 1, "c-b2": 2}),
    ("t-0001", "1", {"c-a1": 2, "c-b2": 1}), ("t-0002", "1", {"c-c3": 2, "c-d4": 1}),
    ("t-0002", "2", {"c-c3": 1, "c-d4": 1}),
]  # fmt: skip
RANKED = [
    ("t-1000", "1", {"c-a1": 1, "c-z9": 2, "c-b2": 3}), ("t-1000", "2", {"c-a1": 1, "c-b2": 2, "c-z9": 3}),
    ("t-1001", "1", {"c-a1": 1, "c-z9": 2, "c-b2": 3}), ("t-1001", "2", {"c-a1": 1, "NOPE": 2}),
]  # fmt: skip
EXPECTED = {
    "pairwise": PAIRS,
    "ranker": RANKED,
    "ranker_tiers": [
        ("t-2000", "1", {"c-a1": 1, "c-z9": 1, "c-b2": 2}), ("t-2000", "2", {"c-a1": 1, "c-z9": 2}),
    ],
    "ui_pairwise": [("t-0000", "1", {"c-a1": 1, "c-b2": 2}), ("t-0000", "2", {"c-a1": 1, "c-b2": 1})],
    "ui_ranker": [
        ("ui-0", "1", {"c-b": 1, "c-a": 2, "c-c": 3}), ("ui-1", "1", {"1": 1, "2": 2, "3": 3}),
        ("ui-2", "1", {"c-a": 1, "c-b": 2, "c-c": 3}),
    ],
    "ui_rating": [
        ("t-3000", "1", {"c-a1": 1, "c-b2": 3, "c-z9": 2}), ("t-3000", "2", {"c-a1": 1, "c-b2": 3, "c-z9": 2}),
    ],
    "ui_tiers": [("t-2000", "1", {"c-a1": 1, "c-z9": 1, "c-b2": 2}), ("t-2000", "2", {}), ("t-2001", "1", {})],
}  # fmt: skip


def order(rows):
    return sorted(rows, key=str)


@pytest.mark.parametrize("name", ["export.json", "export.min.json", "export.csv"])
@pytest.mark.parametrize("project", EXPECTED)
def test_label_studio_export_gives_its_rankings_when_parsed(project, name):
    found = label_studio_file.parse(SAMPLES / "label_studio" / project / name)
    answers = [one.answer for one in found.judgements if one.answer.status != "skipped"]
    assert order((a.task_id, a.annotator, dict(a.ranks)) for a in answers) == order(EXPECTED[project])
    assert (found.problems, dict(found.ignored)) == ([], {})


@pytest.mark.parametrize("project", EXPECTED)
def test_label_studio_export_is_an_answer_or_a_problem_when_held_against_its_batch(project):
    path = SAMPLES / "label_studio" / project / "export.json"
    returned = label_studio.read(path, batch_from_label_studio(path), ReadOptions())
    annotations = sum(len(task["annotations"]) for task in json.loads(path.read_text("utf-8")))
    replaced = sum(returned.ignored.values())
    assert len(returned.answers) + len(returned.problems) + replaced == annotations
    assert replaced == (project == "pairwise")
    assert [problem.problem for problem in returned.problems] == ["ranks NOPE, which the task does not have"] * (
        project == "ranker"
    )


def test_newest_answer_stands_when_one_person_answered_twice():
    path = SAMPLES / "label_studio" / "pairwise" / "export.json"
    returned = label_studio.read(path, batch_from_label_studio(path), ReadOptions())
    by_key = {(a.task_id, a.annotator): a for a in returned.answers}
    changed, skipped = by_key["t-0001", "1"], by_key["t-0003", "1"]
    assert (changed.ranks, changed.strength, changed.comment) == ({"c-a1": 2, "c-b2": 1}, 3, "changed my mind")
    assert [row["ranks"] for row in changed.superseded] == [{"c-a1": 1, "c-b2": 2}]
    assert (by_key["t-0002", "2"].strength, skipped.status, skipped.ranks) == (0, "skipped", {})


def test_untouched_order_is_flagged_when_the_ranker_had_no_buckets():
    path = SAMPLES / "label_studio" / "ui_ranker" / "export.json"
    returned = label_studio.read(path, batch_from_label_studio(path), ReadOptions())
    touched = {answer.task_id: (answer.touched, answer.warnings) for answer in returned.answers}
    # ui-1 has ids 3, 1, 2, which the page showed as 1, 2, 3
    untouched = (False, ("order_untouched",))
    assert touched == {"ui-0": untouched, "ui-1": untouched, "ui-2": (True, ())}
    assert "2 of 3 rankings are the order in which the tool showed the completions" in returned.notes


def test_untouched_tiers_rank_nothing_when_submitted():
    path = SAMPLES / "label_studio" / "ui_tiers" / "export.json"
    returned = label_studio.read(path, batch_from_label_studio(path), ReadOptions())
    status = {(a.task_id, a.annotator): (a.status, a.touched, a.skip_reason) for a in returned.answers}
    sent_off = ("skipped", False, "submitted without a ranking")
    assert status == {("t-2000", "1"): ("ranked", True, None), ("t-2000", "2"): sent_off, ("t-2001", "1"): sent_off}


def test_ratings_are_kept_when_there_are_numbers_too():
    found = label_studio_file.parse(SAMPLES / "label_studio" / "ui_rating" / "export.json")
    first = next(one.answer for one in found.judgements if one.answer.annotator == "1")
    assert first.ratings == {"c-a1": {"overall": 7}, "c-b2": {"overall": 1}, "c-z9": {"overall": 3}}


@pytest.mark.parametrize("name", ["export_all_tasks.json", "export_snapshot_completed_by_object.json"])
def test_drafts_are_counted_when_all_tasks_were_exported(name):
    found = label_studio_file.parse(SAMPLES / "label_studio" / "ranker" / name)
    assert (len(found.judgements), dict(found.ignored)) == (4, {"a draft that was not submitted": 1})


def test_people_have_names_when_users_are_objects_or_given():
    folder = SAMPLES / "label_studio"
    batch = batch_from_label_studio(folder / "ranker" / "export.json", ("a1@example.com", "a2@example.com"))
    users = ReadOptions(users=read_users(folder / "api_users.json"))
    for name, options in (("export_snapshot_completed_by_object.json", ReadOptions()), ("export.csv", users)):
        returned = label_studio.read(folder / "ranker" / name, batch, options)
        assert {answer.annotator for answer in returned.answers} == {"a1@example.com", "a2@example.com"}
        assert not any("--users" in note for note in returned.notes)


def argilla_batch():
    records = json.loads((SAMPLES / "argilla" / "rest_records_include_responses.json").read_text("utf-8"))["items"]
    tasks = []
    for record in records:
        ids = record["metadata"]["completion_ids"].split(",")
        texts = [record["fields"][f"completion_{n}"] for n in range(1, len(ids) + 1)]
        shown = tuple(Shown(*one) for one in zip(ids, texts, strict=True))
        tasks.append(Task("b-demo", record["external_id"], tuple(record["fields"]["prompt"]), shown))
    return from_tasks(tasks, ["ann"])


def test_argilla_records_give_their_rankings_when_fetched_with_responses():
    path = SAMPLES / "argilla" / "rest_records_include_responses.json"
    returned = argilla.read(path, argilla_batch(), ReadOptions(users={"c1e6ef16-99f1-4f4b-b34b-0b3d3ede36af": "one"}))
    found = {(a.task_id, a.annotator[:3]): (a.status, dict(a.ranks)) for a in returned.answers}
    assert found == {
        ("t-0000", "one"): ("ranked", {"c-b2": 3, "c-a1": 1, "c-z9": 2}),
        ("t-0000", "935"): ("ranked", {"c-b2": 2, "c-a1": 1, "c-z9": 1}),
        ("t-0001", "935"): ("skipped", {}),
        ("t-0002", "one"): ("ranked", {"c-b2": 1, "c-a1": 1, "c-z9": 1}),
        ("t-0003", "935"): ("ranked", {"c-b2": 1, "c-a1": 1, "c-z9": 2}),
        ("t-0004", "one"): ("ranked", {"c-b2": 2, "c-a1": 1, "c-z9": 1}),
    }
    assert (returned.problems, returned.ignored) == ([], {"a draft that was not submitted": 1})


@pytest.mark.parametrize("name", ["sdk_to_datasets.jsonl", "sdk_to_json.json", "sdk_to_list_flatten.json"])
def test_argilla_client_export_is_refused_with_the_reason_when_read(name):
    with pytest.raises(DataError, match=r"loses rankings.*argilla#5712") as error:
        argilla.read(SAMPLES / "argilla" / name, argilla_batch(), ReadOptions())
    assert "records?include=responses" in error.value.remedy


@pytest.mark.parametrize("name", [
    "annotations.csv", "annotations.jsonl", "annotation_output/ann1@example.com/user_state.json",
])  # fmt: skip
def test_potato_answer_gives_its_ranking_when_read(name):
    # as posttune would have exported it: A, B, C in the order of the ids
    task = Task("b-demo", "t-0001", (), (Shown("c_1", "Five"), Shown("c_2", "4"), Shown("c_3", "hi")))
    returned = potato.read(SAMPLES / "potato" / name, from_tasks([task], ["ann1@example.com"]), ReadOptions())
    answer = returned.answers[0]
    assert (answer.annotator, answer.ranks) == ("ann1@example.com", {"c_2": 1, "c_1": 2, "c_3": 3})
    assert (answer.comment, returned.problems) == ('B is right, "quoted"\nline2', [])
    assert answer.warnings == ("not_read preference", "not_read quality")


@pytest.mark.parametrize("name, reader, reason", [
    ("labelstudio_pairwise_export.json", label_studio, "none of its tasks has a task_id; they hold prompt, answer1"),
    ("labelstudio_pandalm.converted.json.gz", label_studio, "none of its tasks has a task_id"),
    ("argilla_tulu_flat.converted.json.gz", argilla, "without a ranking question"),
    ("argilla_tulu_nested.converted.json.gz", argilla, "without a ranking question"),
])  # fmt: skip
def test_other_projects_export_is_refused_with_the_reason_when_it_has_no_batch(name, reader, reason, tmp_path):
    data = (DATA / "preference" / name).read_bytes()
    path = tmp_path / name.removesuffix(".gz")
    path.write_bytes(gzip.decompress(data) if name.endswith(".gz") else data)
    assert reader.matches(path, json.loads(path.read_text("utf-8")))
    with pytest.raises(DataError, match=reason):
        reader.read(path, argilla_batch(), ReadOptions())
