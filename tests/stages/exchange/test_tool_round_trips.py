"""A batch goes out to each tool, people answer in it, and the same rankings come back. Nothing out is not blind."""

from __future__ import annotations

import importlib
import re
import tempfile
from pathlib import Path

import pytest
import tool_pages
from hypothesis import given, settings
from hypothesis import strategies as st
from tool_batch import batch_of, dense

from pipeline.errors import DataError
from stages.exchange import argilla, label_studio, potato, prodigy
from stages.exchange.lookup import exporter
from stages.exchange.tools import EXPORTS, READERS, ExportOptions, ReadOptions

TOOLS = {"label-studio": label_studio, "argilla": argilla, "potato": potato, "prodigy": prodigy}
PEOPLE = ("ann1", "ann2")
NUMBERS = {"ann1": 1, "ann2": 2}
USERS = ReadOptions(users={"1": "ann1", "2": "ann2"})
SIZES = st.lists(st.integers(2, 5), min_size=1, max_size=3)


def opinions(draw, batch, *, gaps=True):
    """For everybody and every task a rank from 1 to K for each completion, or None."""
    answers = {}
    for task in batch.tasks:
        ranks = st.integers(1, len(task.ids))
        for person in PEOPLE:
            one = ranks if len(task.ids) == 2 or not gaps else st.none() | ranks
            answers[person, task.task_id] = {name: draw(one) for name in task.ids}
    return answers


def said(returned, batch):
    """{(person, task id): ranks}, where everything of a file became an answer."""
    found = {}
    for one in returned:
        assert one.problems == []
        found |= {(answer.annotator, answer.task_id): dict(answer.ranks) for answer in one.answers}
    assert {task_id for _, task_id in found} <= set(batch.by_id)
    return found


@given(st.data(), SIZES)
@settings(max_examples=25, deadline=None)
def test_label_studio_returns_the_rankings_when_its_page_was_filled_in(data, sizes):
    batch = batch_of(*sizes)
    answers = opinions(data.draw, batch)
    with tempfile.TemporaryDirectory() as folder:
        label_studio.export(batch, Path(folder), ExportOptions())
        exported = tool_pages.label_studio(Path(folder), answers, NUMBERS).values()
        smaller = [tool_pages.as_json_min(path) for path in exported]
        for files in (exported, smaller, [tool_pages.as_csv(path) for path in smaller]):
            returned = [label_studio.read(path, batch, USERS) for path in files]
            assert said(returned, batch) == {key: dense(ranks) for key, ranks in answers.items()}


@given(st.data(), SIZES)
@settings(max_examples=25, deadline=None)
def test_argilla_returns_the_rankings_when_records_were_submitted(data, sizes):
    batch = batch_of(*sizes)
    answers = opinions(data.draw, batch, gaps=False)  # its server takes only whole rankings
    with tempfile.TemporaryDirectory() as folder:
        argilla.export(batch, Path(folder), ExportOptions())
        files = tool_pages.argilla(Path(folder), answers, NUMBERS)
        returned = [argilla.read(path, batch, USERS) for path in files]
    assert said(returned, batch) == {key: dense(ranks) for key, ranks in answers.items()}


@given(st.data(), SIZES)
@settings(max_examples=25, deadline=None)
def test_potato_returns_the_rankings_when_letters_were_ordered(data, sizes):
    batch = batch_of(*sizes)
    answers = opinions(data.draw, batch)
    with tempfile.TemporaryDirectory() as folder:
        potato.export(batch, Path(folder), ExportOptions())
        returned = [potato.read(path, batch, ReadOptions()) for path in tool_pages.potato(Path(folder), answers)]
    expected = {key: dense(ranks) for key, ranks in answers.items() if dense(ranks)}
    assert said(returned, batch) == expected
    assert sum(sum(one.ignored.values()) for one in returned) == len(answers) - len(expected)


@given(st.data(), SIZES)
@settings(max_examples=25, deadline=None)
def test_prodigy_returns_the_rankings_when_all_pairs_were_answered(data, sizes):
    batch = batch_of(*sizes)
    answers = opinions(data.draw, batch)
    with tempfile.TemporaryDirectory() as folder:
        prodigy.export(batch, Path(folder), ExportOptions())
        returned = [prodigy.read(path, batch, ReadOptions()) for path in tool_pages.prodigy(Path(folder), answers)]
    expected = {key: dense(ranks) if len(dense(ranks)) > 1 else {} for key, ranks in answers.items()}
    assert said(returned, batch) == expected


@pytest.mark.parametrize("name", TOOLS)
def test_export_tells_nothing_of_the_key_when_written(name, tmp_path):
    batch = batch_of(2, 3, 4)
    written = TOOLS[name].export(batch, tmp_path, ExportOptions())
    assert sorted(written) == sorted(path for path in tmp_path.rglob("*") if path.is_file())
    everything = "".join(path.read_text("utf-8") for path in written)
    for word in ("secret", "77777", "123456", "policy", "checkpoint", "rm_score", "repeat", "gold", "prompt_ref"):
        assert word not in everything.lower()
    for task in batch.tasks:
        assert task.task_id in everything and all(name in everything for name in task.ids)


@pytest.mark.parametrize("name", TOOLS)
def test_export_leaves_out_a_task_when_all_are_done_with_it(name, tmp_path):
    batch = batch_of(3, 3)
    done, open_ = (task.task_id for task in batch.tasks)
    written = TOOLS[name].export(batch, tmp_path, ExportOptions(exclude_done=frozenset((p, done) for p in PEOPLE)))
    everything = "".join(path.read_text("utf-8") for path in written)
    assert done not in everything and open_ in everything


@pytest.mark.parametrize("name", EXPORTS)
def test_export_is_refused_when_the_batch_does_not_know_the_annotator(name, tmp_path):
    with pytest.raises(DataError, match="no task is for 'an1'") as error:
        exporter(name)(batch_of(3), tmp_path, ExportOptions(annotators=("an1",)))
    assert (error.value.where, list(tmp_path.iterdir())) == ("--annotator", [])
    assert "did you mean 'ann1'" in error.value.remedy


@pytest.mark.parametrize("name", EXPORTS)
def test_export_writes_nothing_when_nothing_is_left_to_answer(name, tmp_path):
    batch = batch_of(3, 2)
    done = frozenset((person, task.task_id) for person in PEOPLE for task in batch.tasks)
    assert list(exporter(name)(batch, tmp_path, ExportOptions(exclude_done=done))) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["html", "csv", "xlsx", "prodigy"])
def test_files_differ_whatever_the_system_makes_of_their_names(name, tmp_path):
    batch = batch_of(2, people=("../a", ".._a", ".._A", "a:b", "Ünal"))
    files = [path for path in exporter(name)(batch, tmp_path, ExportOptions()) if path.name != "howto.md"]
    assert len({path.name.casefold() for path in files}) == 5
    assert all(path.parent == tmp_path and re.fullmatch(r"[A-Za-z0-9@._-]+", path.name) for path in files)


@pytest.mark.parametrize("name", TOOLS)
def test_tables_name_the_tool(name):
    module, function = EXPORTS[name].split(":")
    assert getattr(importlib.import_module(module), function) is TOOLS[name].export
    assert importlib.import_module(READERS[name]) is TOOLS[name] and name == TOOLS[name].NAME
