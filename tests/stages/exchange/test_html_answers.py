"""A rankings file as the page writes it -> the answers that were given; whatever was edited is told, task by task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_batch import made_up_batch

from pipeline.errors import DataError
from stages.exchange.html import matches, read
from stages.exchange.tools import ReadOptions, Returned

BATCH = made_up_batch()
TASK = BATCH.tasks[1]  # three completions
A, B, C = TASK.ids
PAIR = BATCH.tasks[0]


def row(task=TASK, **changes: Any) -> dict[str, Any]:
    return {
        "batch_id": BATCH.batch_id,
        "task_id": task.task_id,
        "task_digest": task.digest,
        "annotator": "ann1",
        "status": "ranked",
        "ranks": {name: 1 for name in task.ids},
        "strength": None,
        "flags": [],
        "skip_reason": None,
        "comment": "",
        "active_seconds": 3.5,
        "started_at": "2026-11-23T18:00:00.000Z",
        "submitted_at": "2026-11-23T18:00:09.120Z",
        "revision": 1,
        "touched": True,
        "view": "raw",
        "shown": list(task.ids),
    } | changes


def file_of(folder: Path, *answers: Any, **head: Any) -> Path:
    whole = {
        "schema": "pref.rankings/1",
        "batch_id": BATCH.batch_id,
        "batch_digest": BATCH.digest,
        "annotator": "ann1",
        "page_version": "1.0",
        "complete": False,
        "answers": list(answers),
        "drafts": [],
    }
    path = folder / "any name (1).txt"
    path.write_text(json.dumps(whole | head), "utf-8")
    return path


def back(path: Path, **options: Any) -> Returned:
    return read(path, BATCH, ReadOptions(**options))


@st.composite
def rankings(draw):
    """Per task a rank or none for each completion, ties and gaps included, and a comment of any characters."""
    tasks = draw(st.lists(st.sampled_from(BATCH.tasks), unique_by=lambda task: task.task_id))
    rank = lambda task: st.none() | st.integers(1, len(task.ids))  # noqa: E731
    comment = st.text(st.characters(exclude_categories=()))
    return [(task, {name: draw(rank(task)) for name in task.ids}, draw(comment)) for task in tasks]


@settings(max_examples=60, deadline=None)
@given(said=rankings())
def test_rankings_come_back_as_they_were_given(said, tmp_path_factory: pytest.TempPathFactory) -> None:
    rows = [
        row(task, ranks={name: rank for name, rank in ranks.items() if rank}, comment=comment)
        for task, ranks, comment in said
    ]
    returned = back(file_of(tmp_path_factory.mktemp("file"), *rows))
    assert (len(returned.answers), list(returned.problems)) == (len(said), [])
    for (task, ranks, comment), answer in zip(said, returned.answers, strict=True):
        given_ranks = {name: rank for name, rank in ranks.items() if rank}
        used = sorted(set(given_ranks.values()))
        assert answer.ranks == {name: 1 + used.index(rank) for name, rank in given_ranks.items()}
        assert answer.status == (
            "skipped" if not used else "ranked" if len(given_ranks) == len(task.ids) else "partial"
        )
        assert (answer.task_id, answer.annotator, answer.comment) == (task.task_id, "ann1", comment)


def test_answer_keeps_all_that_the_page_says(tmp_path: Path) -> None:
    (answer,) = back(file_of(tmp_path, row(ranks={A: 3, B: 1, C: 3}, flags=["unsafe"], shown=[C, A, B]))).answers
    assert answer.ranks == {A: 2, B: 1, C: 2}
    assert (answer.status, answer.flags, answer.shown) == ("ranked", ("unsafe",), (C, A, B))
    assert (answer.active_seconds, answer.revision, answer.touched) == (3.5, 1, True)
    assert (answer.submitted_at, answer.extra) == ("2026-11-23T18:00:09.120Z", {"view": "raw"})
    assert answer.source["tool"] == "html" and len(answer.source["file_sha256"]) == 64


def test_skipped_and_flagged_stay_what_they_are_when_no_rank_is_given(tmp_path: Path) -> None:
    skipped = row(status="skipped", ranks={}, skip_reason="not my language")
    flagged = row(PAIR, status="flagged", ranks={}, flags=["all_bad"])
    one, other = back(file_of(tmp_path, skipped, flagged)).answers
    assert (one.status, one.skip_reason, one.ranks) == ("skipped", "not my language", {})
    assert (other.status, other.flags, other.ranks) == ("flagged", ("all_bad",), {})


def test_choice_between_two_keeps_its_strength(tmp_path: Path) -> None:
    first, second = PAIR.ids
    (answer,) = back(file_of(tmp_path, row(PAIR, ranks={first: 2, second: 1}, strength=3))).answers
    assert (answer.ranks, answer.strength) == ({first: 2, second: 1}, 3)


def test_unknown_fields_are_kept_and_drafts_are_counted(tmp_path: Path) -> None:
    path = file_of(tmp_path, row(mood="calm"), schema="pref.rankings/1.4", drafts=[{"task_id": PAIR.task_id}])
    returned = back(path)
    assert returned.answers[0].extra == {"view": "raw", "mood": "calm"}
    assert returned.ignored == {"begun and not finished": 1}


def test_annotator_is_named_by_the_table_of_users(tmp_path: Path) -> None:
    (answer,) = back(file_of(tmp_path, row()), users={"ann1": "Ann"}).answers
    assert (answer.annotator, answer.source["annotator_raw"]) == ("Ann", "ann1")


EDITED = {
    "rank too high": ({"ranks": {A: 4}}, "the rank 4; 1 to 3 is allowed"),
    "rank zero": ({"ranks": {A: 0}}, "the rank 0"),
    "rank of text": ({"ranks": {A: "1"}}, 'the rank "1"'),
    "rank between": ({"ranks": {A: 1.5}}, "the rank 1.5"),
    "rank true": ({"ranks": {A: True}}, "the rank true"),
    "rank beyond numbers": ({"ranks": {A: 10**400}}, "the rank 1000"),
    "ranks of a list": ({"ranks": [1, 2, 3]}, "ranks of type list"),
    "unknown completion": ({"ranks": {"c_unknown1": 1}}, "ranks c_unknown1"),
    "unknown task": ({"task_id": "t_unknown1"}, "which the batch does not have"),
    "task of a list": ({"task_id": [1]}, "which the batch does not have"),
    "other text": ({"task_digest": "sha256:0"}, "has task_digest sha256:0"),
    "other annotator": ({"annotator": "ann2"}, "has annotator ann2; ann1 is expected"),
    "other order": ({"shown": [A, B]}, "shows other completions"),
    "status": ({"status": "started"}, "ranked, partial, skipped, flagged is allowed"),
    "status of a list": ({"status": []}, "has status"),
    "strength of three": ({"strength": 1}, "which its ranks contradict"),
    "time without zone": ({"submitted_at": "2026-11-23T18:00:00"}, "a time with its zone"),
    "time of words": ({"submitted_at": "yesterday"}, "a time with its zone"),
    "revision": ({"revision": 0}, "a whole number from 1"),
    "seconds": ({"active_seconds": -1}, "a number of seconds"),
    "flags": ({"flags": "unsafe"}, "a list of texts"),
    "comment": ({"comment": None}, "text is allowed"),
    "touched": ({"touched": "yes"}, "true, false or null"),
    "ratings": ({"ratings": {A: {"overall": "good"}}}, "id -> criterion -> number"),
}


@pytest.mark.parametrize("name", EDITED)
def test_edited_answer_is_refused_alone(name: str, tmp_path: Path) -> None:
    changes, found = EDITED[name]
    returned = back(file_of(tmp_path, row(**changes), row(PAIR)))
    assert [answer.task_id for answer in returned.answers] == [PAIR.task_id]
    (problem,) = returned.problems
    assert found in problem.problem and "answer 1" in problem.where and problem.remedy


@pytest.mark.parametrize("value", [None, 3, "x", [], True], ids=repr)
def test_answer_that_is_no_object_is_refused_alone(value: Any, tmp_path: Path) -> None:
    returned = back(file_of(tmp_path, value, row()))
    assert (len(returned.answers), len(returned.problems)) == (1, 1)


def test_strength_is_refused_when_the_ranks_contradict_it(tmp_path: Path) -> None:
    first, second = PAIR.ids
    for ranks, strength in (({first: 1, second: 1}, 2), ({first: 1, second: 2}, 0), ({first: 1}, 1)):
        assert back(file_of(tmp_path, row(PAIR, ranks=ranks, strength=strength))).problems


def test_completion_that_is_ranked_twice_is_refused(tmp_path: Path) -> None:
    path = file_of(tmp_path, row())
    path.write_text(path.read_text("utf-8").replace(f'"{A}": 1', f'"{A}": 1, "{A}": 2', 1), "utf-8")
    (problem,) = back(path).problems
    assert problem.problem == f"says {A} twice"


@pytest.mark.parametrize(
    ("head", "found"),
    [
        ({"schema": "pref.rankings/2"}, "version '2'"),
        ({"schema": "pref.ranking/1"}, "no file of rankings"),
        ({"batch_id": "b_another1"}, f"batch_id b_another1; this batch has {BATCH.batch_id}"),
        ({"batch_digest": "sha256:0"}, "batch_digest sha256:0"),
        ({"annotator": None}, "names no annotator"),
        ({"annotator": ["ann1"]}, "names no annotator"),
        ({"answers": {}}, "no list of answers"),
        ({"drafts": 3}, "no list of drafts"),
    ],
    ids=str,
)
def test_file_is_refused_whole_when_its_head_is_not_of_this_batch(head: dict, found: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=found):
        back(file_of(tmp_path, row(), **head))


@pytest.mark.parametrize("damage", ["cut", "nul", "latin", "nan", "deep", "list", "empty"])
def test_file_is_refused_when_it_is_damaged(damage: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, row())
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut": content[:-20],
            "nul": content.replace(b'"comment": ""', b'"comment": "\x00"'),
            "latin": content.replace(b'"comment": ""', b'"comment": "\xe4"'),
            "nan": content.replace(b"3.5", b"NaN"),
            "deep": b"[" * 100_000,
            "list": b"[]",
            "empty": b"",
        }[damage]
    )
    with pytest.raises(DataError):
        back(path)


def test_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = file_of(tmp_path)
    assert matches(path, {"schema": "pref.rankings/1"}) and matches(path, {"schema": "pref.rankings/9"})
    assert matches(path, '{"schema":"pref.rankings/1","batch_id":"b_12345678"')
    assert not any(matches(path, head) for head in ({"schema": "pref.ranking/1"}, [], "a,b,c", None, {}))


def test_file_is_read_when_it_begins_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = file_of(tmp_path, row())
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(back(path).answers) == 1
