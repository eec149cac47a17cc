"""Random rankings with ties and gaps go out, are filled in as a person would, and come back the same."""

from __future__ import annotations

import json
import random
import re
import tempfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_batch import POLICIES, made_up_batch
from openpyxl import load_workbook
from people import Office, ranks_of

from pipeline.errors import DataError
from stages.exchange.sheet_csv import export as export_csv
from stages.exchange.tools import ExportOptions
from stages.exchange.xlsx import export as export_xlsx

HOSTILE = [
    "=HYPERLINK(\"http://example.invalid\", \"click\")", "+1+1", "-2", "@SUM(A1)", "\t=1", "\r=1", "=cmd|' /C calc'!A0",
    "<script>window.__pwned = 1</script>", "a\x00b", "\ud800 alone", "\u202eright to left\u202c", "\x1b[31mred",
    "👩\u200d👩\u200d👧" * 20, "שלום עולם", "0012", "1e5", "_x0041_", "\ufffe\uffff",
    "'quoted", "line\r\nline\u2028line", " ", "x" * 50_000,
]  # fmt: skip


@st.composite
def judgements(draw: st.DrawFn) -> list[list[int | None]]:
    """For each task a rank or nothing for each completion: 1 to K, with ties and gaps."""
    counts = draw(st.lists(st.integers(2, 6), min_size=1, max_size=4))
    return [draw(st.lists(st.none() | st.integers(1, count), min_size=count, max_size=count)) for count in counts]


def tried(judged: list[list[int | None]], tool: str, shuffle: int) -> None:
    """Fill in and import; what comes back is the dense order of what was typed, worked out here by counting."""
    with tempfile.TemporaryDirectory() as folder:
        texts = [[f"text {task}.{n}" for n in range(len(ranks))] for task, ranks in enumerate(judged)]
        office = Office(Path(folder), made_up_batch(texts, ["ann1"]))
        typed = {
            name: rank
            for task, ranks in zip(office.batch.tasks, judged, strict=True)
            for name, rank in zip(task.ids, ranks, strict=True)
            if rank is not None
        }
        if tool == "xlsx":
            back = office.filled_xlsx(typed)
        else:
            forms = random.Random(shuffle)
            words = {name: forms.choice(["{}", " {} ", "{}.0", "{},0"]).format(rank) for name, rank in typed.items()}
            head, *rows = office.csv_rows()
            filled = [[*row[:4], words.get(row[8], ""), *row[5:]] for row in rows]
            forms.shuffle(filled)
            back = office.write([head, *filled])
        report = office.take(back)
        expected = {}
        for task, ranks in zip(office.batch.tasks, judged, strict=True):
            given = {name: rank for name, rank in zip(task.ids, ranks, strict=True) if rank is not None}
            if given:
                expected[task.task_id] = {n: len({o for o in given.values() if o < r}) + 1 for n, r in given.items()}
        assert ranks_of(office) == expected
        assert report.files[0].total == len(judged)


@settings(max_examples=25, deadline=None)
@given(judgements(), st.integers(0, 99))
def test_rankings_come_back_when_a_csv_file_was_filled_in_and_sorted(judged, shuffle):
    tried(judged, "csv", shuffle)


@settings(max_examples=12, deadline=None)
@given(judgements())
def test_rankings_come_back_when_a_workbook_was_filled_in(judged):
    tried(judged, "xlsx", 0)


@pytest.fixture(scope="module")
def hostile() -> list[list[str]]:
    return [HOSTILE[start : start + 2] for start in range(0, len(HOSTILE), 2)]


@pytest.mark.parametrize("tool", ["xlsx", "csv"])
def test_ids_and_ranks_come_back_when_texts_are_hostile(tmp_path, hostile, tool):
    short = [[text[:30_000] for text in pair] for pair in hostile]
    office = Office(tmp_path, made_up_batch(short if tool == "xlsx" else hostile, ["ann1"], HOSTILE[:4]))
    typed = {name: place for task in office.batch.tasks for place, name in enumerate(task.ids, start=1)}
    back = office.filled_xlsx(typed) if tool == "xlsx" else office.filled_csv(typed)
    report = office.take(back)
    assert report.files[0].counts == {"taken": len(hostile)}
    assert ranks_of(office) == {task.task_id: {task.ids[0]: 1, task.ids[1]: 2} for task in office.batch.tasks}


def test_no_cell_is_a_formula_link_or_number_when_texts_look_like_them(tmp_path, hostile):
    batch = made_up_batch([[text[:30_000] for text in pair] for pair in hostile], ["ann1"], HOSTILE[:4])
    (path,) = export_xlsx(batch, tmp_path, ExportOptions())
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    sheets = [text for name, text in parts.items() if name.startswith("xl/worksheets/sheet")]
    assert len(sheets) == 3
    for text in sheets:
        assert "<f>" not in text and "<hyperlink" not in text
        valued = re.findall(r"<c [^>]*>(?=<v>)", text)
        assert valued and all(' t="s"' in cell for cell in valued)
    assert not any("externalLink" in name for name in parts)


def test_display_cell_begins_with_an_apostrophe_when_it_would_run(tmp_path, hostile):
    office = Office(tmp_path, made_up_batch(hostile, ["ann1"], HOSTILE[:4]))
    cells = [cell for row in office.csv_rows() for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert {f"'{text}" for text in HOSTILE[:7]} <= set(cells)


def test_character_that_a_workbook_cannot_hold_is_shown_as_a_tag(tmp_path):
    batch = made_up_batch([["a\x00b", "c\ud800d"]], ["ann1"])
    (path,) = export_xlsx(batch, tmp_path, ExportOptions())
    texts = {row[3] for row in load_workbook(path)["Tasks"].iter_rows(min_row=2, values_only=True)}
    assert texts == {"a⟨U+0000⟩b", "c⟨U+D800⟩d"}


@pytest.mark.parametrize("text", ["x" * 32_768, "😀" * 16_384], ids=["ascii", "two units each"])
def test_workbook_is_refused_when_a_text_is_longer_than_a_cell(tmp_path, text):
    with pytest.raises(DataError, match="32,768 characters; a cell of a workbook holds 32,767"):
        export_xlsx(made_up_batch([[text, "short"]]), tmp_path, ExportOptions())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["x" * 50_000, "😀" * 20_000], ids=["ascii", "two units each"])
def test_text_is_cut_with_a_note_when_that_is_allowed(tmp_path, text):
    path, _ = export_xlsx(made_up_batch([[text, "short"]]), tmp_path, ExportOptions(allow_truncated=True))
    shown = max((row[3] for row in load_workbook(path)["Tasks"].iter_rows(values_only=True)), key=len)
    assert len(shown.encode("utf-16-le")) // 2 <= 32_767
    assert shown.endswith(f"[cut: the text has {len(text):,} characters, a cell holds 32,767]")


def test_text_of_a_full_cell_is_whole_when_it_just_fits(tmp_path):
    path, _ = export_xlsx(made_up_batch([["y" * 32_767, "short"]]), tmp_path, ExportOptions())
    shown = {row[3] for row in load_workbook(path)["Tasks"].iter_rows(min_row=2, values_only=True)}
    assert "y" * 32_767 in shown


@pytest.mark.parametrize("export", [export_xlsx, export_csv])
def test_export_holds_nothing_of_the_key(tmp_path, export):
    batch = made_up_batch()
    secrets = {*POLICIES, "gold", "repeat_of", "stage_fingerprint", "of-a-secret-stage", "90210", "policy"}
    assert all(secret in json.dumps(list(batch.key.values())) for secret in secrets)
    for path in export(batch, tmp_path, ExportOptions()):
        data = path.read_bytes()
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as archive:
                data = b"".join(archive.read(name) for name in archive.namelist())
        assert not [secret for secret in secrets if secret.encode() in data]


def test_rank_cells_are_open_and_checked_and_all_others_locked(tmp_path):
    path, _ = export_xlsx(made_up_batch(), tmp_path, ExportOptions())
    book = load_workbook(path)
    sheet = book["Tasks"]
    rules = [(str(rule.sqref), rule.formula1, rule.formula2) for rule in sheet.data_validations.dataValidation]
    assert rules[:4] == [("E2:E3", "1", "2"), ("E4:E6", "1", "3"), ("E7:E10", "1", "4"), ("E11:E15", "1", "5")]
    assert sheet.protection.sheet and book["_meta"].sheet_state == "veryHidden"
    assert [cell.protection.locked for cell in sheet[2]] == [True] * 4 + [False] * 3 + [True] * 5
    assert [cell.value for cell in sheet[2]][4:7] == [None, None, None]


def test_equal_exports_are_equal_bytes(tmp_path):
    first, second = (export_xlsx(made_up_batch(), tmp_path / name, ExportOptions(["ann1"]))[0] for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_done_tasks_are_left_out_when_asked_for(tmp_path):
    batch = made_up_batch()
    done = frozenset({("ann1", task.task_id) for task in batch.tasks} | {("ann2", batch.tasks[0].task_id)})
    (path,) = export_csv(batch, tmp_path, ExportOptions(exclude_done=done))
    text = path.read_text("utf-8-sig")
    assert path.name.endswith("__ann2.csv")
    assert batch.tasks[0].task_id not in text and batch.tasks[1].task_id in text


def test_export_is_refused_when_nobody_has_that_name(tmp_path):
    with pytest.raises(DataError, match="no task is for 'ann3'"):
        export_csv(made_up_batch(), tmp_path, ExportOptions(["ann3"]))


def test_two_files_are_written_when_names_differ_only_in_what_files_cannot_have(tmp_path):
    paths = export_csv(made_up_batch(annotators=["a/b", "a:b", "../c"]), tmp_path, ExportOptions())
    assert len({path.name for path in paths}) == 3
    assert {path.parent for path in paths} == {tmp_path}
