"""What Prodigy's db-out may hold beside a clean answer, and what its pairs look like."""

from __future__ import annotations

import json

import pytest
from tool_batch import batch_of

from stages.exchange import prodigy
from stages.exchange.tools import ExportOptions, ReadOptions

BATCH = batch_of(3)
TASK = BATCH.tasks[0]
A, B, C = sorted(TASK.ids)


def row(first, second, accept, **more):
    options = [{"id": name, "text": name} for name in (first, second, "equal")]
    return {"id": "x", "task_id": TASK.task_id, "batch_id": BATCH.batch_id, "annotator": "ann1", "options": options,
            "accept": [accept] if accept else [], "answer": "accept", "_timestamp": 100, **more}  # fmt: skip


def read(tmp_path, *rows):
    path = tmp_path / "out.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), "utf-8")
    return prodigy.read(path, BATCH, ReadOptions())


def test_pairs_become_one_ranking_when_they_agree(tmp_path):
    (answer,) = read(tmp_path, row(A, B, B), row(C, A, A, _timestamp=160), row(B, C, B)).answers
    assert (answer.ranks, answer.status, answer.submitted_at) == (
        {B: 1, A: 2, C: 3}, "ranked", "1970-01-01T00:02:40.000000Z",
    )  # fmt: skip


def test_circle_is_a_problem_when_it_leaves_nothing(tmp_path):
    returned = read(tmp_path, row(A, B, A), row(B, C, B), row(C, A, C))
    assert (returned.answers, len(returned.problems)) == ([], 1)
    assert f"{A}>{B}, {B}>{C}, {C}>{A} contradict each other" in returned.problems[0].problem
    assert TASK.task_id in returned.problems[0].where and "ann1" in returned.problems[0].where


def test_rest_is_kept_and_told_when_a_pair_was_passed_over(tmp_path):
    returned = read(tmp_path, row(A, B, A), row(A, C, A), row(B, C, None, answer="ignore"))
    (answer,) = returned.answers
    assert (answer.ranks, answer.status, answer.warnings) == ({A: 1, B: 2}, "partial", ("pairs_left_out",))
    assert f"{A}>{C} cannot be ranked with the others" in returned.notes[0]


@pytest.mark.parametrize("verdict", ["ignore", "reject"])
def test_task_is_skipped_when_all_its_pairs_were_passed_over(verdict, tmp_path):
    (answer,) = read(tmp_path, row(A, B, A, answer=verdict), row(B, C, None)).answers
    assert (answer.status, answer.ranks, answer.skip_reason) == ("skipped", {}, None)


def test_newest_choice_stands_when_a_pair_was_answered_twice(tmp_path):
    returned = read(tmp_path, row(A, B, A, _timestamp=200), row(B, A, B, _timestamp=100), row(A, B, A, _timestamp=50))
    assert returned.answers[0].ranks == {A: 1, B: 2}
    assert returned.ignored == {"replaced by a newer answer to the same pair": 2}


def test_contradiction_shows_when_no_time_tells_which_choice_is_newer(tmp_path):
    returned = read(tmp_path, row(A, B, A, _timestamp=None), row(B, A, B, _timestamp=None))
    assert f"{A}>{B}, {B}>{A} contradict" in returned.problems[0].problem


@pytest.mark.parametrize("changes, reason", [
    ({"answer": "maybe"}, "has the answer 'maybe'"), ({"accept": ["c_other000"]}, "does not offer"),
    ({"accept": [A, "equal"]}, "a side and the tie"), ({"options": []}, "is no pair"),
    ({"task_id": None}, "is no pair"),
])  # fmt: skip
def test_line_is_a_problem_when_it_makes_no_sense(changes, reason, tmp_path):
    returned = read(tmp_path, row(A, B, A), {**row(A, C, A), **changes})
    assert (len(returned.answers), reason in returned.problems[0].problem) == (1, True)
    assert returned.problems[0].where.endswith("out.jsonl:line 2")


def test_person_is_the_session_when_the_row_names_nobody(tmp_path):
    (answer,) = read(tmp_path, row(A, B, A, annotator=None, _session_id="my-set-ann2")).answers
    assert answer.annotator == "ann2"


def test_sides_are_shuffled_and_the_same_again_when_exported(tmp_path):
    batch = batch_of(*[4] * 12)
    first, second = (prodigy.export(batch, tmp_path / name, ExportOptions()) for name in "ab")
    assert [path.read_text("utf-8") for path in first] == [path.read_text("utf-8") for path in second]
    rows = [json.loads(line) for path in first[:-1] for line in path.read_text("utf-8").splitlines()]
    assert len(rows) == 2 * 12 * 6
    lower = sum(one["options"][0]["id"] < one["options"][1]["id"] for one in rows)
    assert 50 < lower < 94  # 72 expected, standard deviation 6
    assert all(one["id"] == "#".join([one["task_id"], *(o["id"] for o in one["options"][:2])]) for one in rows)
