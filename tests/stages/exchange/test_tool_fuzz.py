"""Torn, mutated and wrong-typed files: each reader answers with DataError or with counts that add up."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path

import pytest
import tool_pages
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tool_batch import batch_of

from pipeline.errors import DataError
from stages.exchange import argilla, label_studio, potato, prodigy
from stages.exchange.tools import ExportOptions, ReadOptions
from stages.exchange.users import read_users

BATCH = batch_of(3, 2)
RANKS = {(person, t.task_id): {name: place + 1 for place, name in enumerate(t.ids)}
         for person in ("ann1", "ann2") for t in BATCH.tasks}  # fmt: skip
NUMBERS = {"ann1": 1, "ann2": 2}
TOOLS = {"label-studio": label_studio, "argilla": argilla, "potato": potato, "prodigy": prodigy}
JUNK = [None, True, -1, 0, 2, 10**400, 1e308, float("nan"), "", " ", "x", "c_" + "a" * 8, "\ud800", [], {}, [[]],
        [None], {"id": []}, {"value": {}}, [{"value": "completion_1", "rank": 1}], "A,A", "1" * 5000]  # fmt: skip


def written(name):
    """One file that the tool wrote, as text."""
    with tempfile.TemporaryDirectory() as folder:
        TOOLS[name].export(BATCH, Path(folder), ExportOptions())
        files = {
            "label-studio": lambda: list(tool_pages.label_studio(Path(folder), RANKS, NUMBERS).values())[::-1],
            "argilla": lambda: tool_pages.argilla(Path(folder), RANKS, NUMBERS),
            "potato": lambda: tool_pages.potato(Path(folder), RANKS),
            "prodigy": lambda: tool_pages.prodigy(Path(folder), RANKS),
        }[name]()
        return files[-1].read_text("utf-8")


FILES = {name: written(name) for name in TOOLS}


def read(name, data):
    """What the reader makes of these bytes; None where it refuses them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "returned"
        path.write_bytes(data)
        try:
            return TOOLS[name].read(path, BATCH, ReadOptions())
        except DataError as error:
            assert error.problem and error.remedy and str(path) in error.where
            return None


def total(returned):
    return len(returned.answers) + len(returned.problems) + sum(returned.ignored.values())


@pytest.mark.parametrize("name", TOOLS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reader_refuses_a_file_when_it_is_torn(name, data):
    whole = FILES[name].strip().encode()
    at = data.draw(st.integers(0, len(whole) - 1))
    returned = read(name, whole[:at])
    # a file of lines may be torn between two of them, and is then a shorter file
    assert returned is None or (name in ("potato", "prodigy") and b"\n" in whole[at - 1 : at + 1])


@pytest.mark.parametrize("name", TOOLS)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reader_answers_when_bytes_were_changed(name, data):
    whole = bytearray(FILES[name].encode())
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=5)):
        whole[at] = data.draw(st.integers(0, 255))
    read(name, bytes(whole))


@pytest.mark.parametrize("name", TOOLS)
@given(noise=st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace")))
@example(noise=b"\xef\xbb\xbf")  # the mark before UTF-8, and nothing after it
@settings(max_examples=60, deadline=None)
def test_reader_answers_when_the_file_is_noise(name, noise):
    read(name, noise)


def places(value, at=()):
    """The path of every value inside."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inside:
        yield (*at, key)
        yield from places(held, (*at, key))


def mutated(value, draw, times=3):
    """A copy with some values replaced by junk or removed."""
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(1, times))):
        found = list(places(value))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        inside = value
        for step in way:
            inside = inside[step]
        if isinstance(inside, dict) and draw(st.booleans()):
            del inside[last]
        else:
            inside[last] = copy.deepcopy(draw(st.sampled_from(JUNK)))
    return value


@pytest.mark.parametrize("name", TOOLS)
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_reader_answers_when_values_were_replaced(name, data):
    text = FILES[name]
    if name in ("potato", "prodigy"):
        rows = [mutated(json.loads(line), data.draw) for line in text.splitlines()]
        returned = read(name, "".join(json.dumps(row) + "\n" for row in rows).encode())
    else:
        returned = read(name, json.dumps(mutated(json.loads(text), data.draw, 6)).encode())
    for answer in returned.answers if returned else ():
        assert answer.batch_id == BATCH.batch_id and set(answer.ranks) <= set(BATCH.by_id[answer.task_id].ids)
        assert sorted(set(answer.ranks.values())) == list(range(1, len(set(answer.ranks.values())) + 1))
        json.dumps(answer.as_row())


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_label_studio_counts_every_annotation_when_some_are_damaged(data):
    tasks = json.loads(FILES["label-studio"])
    for task in tasks:
        task["annotations"] = [mutated(one, data.draw) for one in task["annotations"]]
    returned = read("label-studio", json.dumps(tasks).encode())
    assert total(returned) == sum(len(task["annotations"]) for task in tasks)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_label_studio_counts_every_row_when_json_min_is_damaged(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "export.json"
        path.write_text(FILES["label-studio"], "utf-8")
        rows = json.loads(tool_pages.as_json_min(path).read_text("utf-8"))
    keep = ("annotation_id", "task_id", "batch_id")
    rows = [{**mutated(row, data.draw), **{key: row[key] for key in keep}} for row in rows]
    assert total(read("label-studio", json.dumps(rows).encode())) == len(rows)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_argilla_counts_every_response_when_some_are_damaged(data):
    page = json.loads(FILES["argilla"])
    for record in page["items"]:
        record["responses"] = [mutated(one, data.draw) for one in record["responses"]]
    assert total(read("argilla", json.dumps(page).encode())) == sum(len(r["responses"]) for r in page["items"])


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_potato_counts_every_line_when_some_are_damaged(data):
    rows = [mutated(json.loads(line), data.draw) for line in FILES["potato"].splitlines()]
    assert total(read("potato", "".join(json.dumps(row) + "\n" for row in rows).encode())) == len(rows)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_prodigy_accounts_for_every_task_and_line_when_some_are_damaged(data):
    rows = [json.loads(line) for line in FILES["prodigy"].splitlines()]
    for row in rows:
        if data.draw(st.booleans()):
            row.update(mutated({key: row[key] for key in ("accept", "answer", "_timestamp")}, data.draw))
    returned = read("prodigy", "".join(json.dumps(row) + "\n" for row in rows).encode())
    bad_lines = sum(":line " in problem.where for problem in returned.problems)
    bad = {int(p.where.rpartition(" ")[2]) for p in returned.problems if ":line " in p.where}
    groups = {(row["task_id"], row["annotator"]) for number, row in enumerate(rows, 1) if number not in bad}
    assert len(returned.answers) + len(returned.problems) - bad_lines == len(groups)


@given(
    value=st.sampled_from(JUNK) | st.lists(st.sampled_from(JUNK)) | st.dictionaries(st.text(), st.sampled_from(JUNK))
)
@settings(max_examples=100, deadline=None)
def test_users_file_is_read_or_refused_when_it_is_anything(value):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "users.json"
        path.write_text(json.dumps(value), "utf-8")
        try:
            assert all(isinstance(name, str) and name for name in read_users(path).values())
        except DataError as error:
            assert error.remedy


@pytest.mark.parametrize("name", TOOLS)
@given(head=st.sampled_from(JUNK) | st.lists(st.sampled_from(JUNK)) | st.dictionaries(st.text(), st.sampled_from(JUNK)))
def test_reader_says_whether_a_file_is_its_own_when_it_begins_with_anything(name, head):
    assert TOOLS[name].matches(Path("x"), head) in (True, False)


@pytest.mark.parametrize("name", TOOLS)
def test_reader_knows_its_own_file_and_no_other_when_asked(name):
    text = FILES[name]
    head = text.splitlines()[0] if name in ("potato", "prodigy") else json.loads(text)
    assert [other for other in TOOLS if TOOLS[other].matches(Path("x"), head)] == [name]
