"""Whatever is done to rows and bytes: a DataError or a record, never another error, and no row lost in silence."""

from __future__ import annotations

import copy
import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.contract import DataSource, Source
from pipeline.errors import DataError
from stages.formats import FORMATS, Log, find, iter_records, read_rows
from stages.formats.registry import candidates, records

SAMPLES = Path(__file__).parents[3] / "data" / "formats"
FILES = {path.name.split(".")[0]: path for path in SAMPLES.iterdir() if path.name != "README.md"}
ROWS = {name: [row for _, row in read_rows(path)] for name, path in FILES.items()}
RECORD_KINDS = ("instruction", "comparison", "prompt", "document")  # those that a stage can ask for
QUICK = settings(
    max_examples=120, derandomize=True, deadline=None, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip

COLUMNS = sorted({key for rows in ROWS.values() for row in rows for key in row})
KEYS = st.sampled_from(["role", "content", "text", "rank", "replies", "answer", "name", "from", "value", "x", ""])
TEXTS = st.sampled_from(
    ["", " ", "\x00", "\ud800", "[", "[1, {", '{"a":', "1e999", "nan", "[[[[", "\n\nHuman: a\n\nAssistant:", "tie"]
)
ATOMS = st.none() | st.booleans() | st.integers(-2, 3) | st.just(10**400) | st.floats() | TEXTS
JUNK = st.recursive(
    ATOMS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)


def places(value, path=()):
    """Every path into a row: to its values, to their elements, and so on."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, held in inside for place in places(held, (*path, key)))]


@st.composite
def mutants(draw, rows):
    """A row of `rows` with one to three of its places removed, doubled or replaced by junk."""
    row = copy.deepcopy(draw(st.sampled_from(rows)))
    for _ in range(draw(st.integers(1, 3))):
        inner = [path for path in places(row) if path]
        if not inner:
            break
        *path, last = draw(st.sampled_from(inner))
        holder = row
        for key in path:
            holder = holder[key]
        action = draw(st.sampled_from(["remove", "double", "replace", "replace"]))
        if action == "remove":
            del holder[last]
        elif action == "double" and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        else:
            holder[last] = draw(JUNK)
    return row


@QUICK
@given(name=st.sampled_from(list(FORMATS)), data=st.data())
def test_a_mutated_row_is_records_or_a_data_error(name, data):
    row = data.draw(mutants(ROWS[name]))
    try:
        find([row])
    except DataError as error:
        assert error.problem and error.remedy
    for chosen in {name, *candidates(row)}:
        try:
            made = records(chosen, row)
        except DataError as error:
            assert error.where and error.problem and error.remedy
        else:
            assert made and all(record.kind in FORMATS[chosen].KINDS for record in made)
            assert all(record.id and record.split_key for record in made)


ANYTHING = (None, True, 0, -1, 2, 10**400, -(10**400), 0.5, math.nan, -math.inf, "", "\ud800", "[", "{", "1e999", "nan",
            [], [None], [[]], {}, {"role": 1}, "x" * 100_001)  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_any_place_of_a_sample_may_hold_anything_when_a_data_error_is_an_answer(name):
    for row in ROWS[name]:
        for *path, last in filter(None, places(row)):
            changed = copy.deepcopy(row)
            holder = changed
            for key in path:
                holder = holder[key]
            for holder[last] in ANYTHING:
                candidates(changed)
                try:
                    assert records(name, changed)
                except DataError as error:
                    assert error.where and error.problem and error.remedy


@QUICK
@given(name=st.sampled_from(list(FORMATS)), row=st.dictionaries(st.sampled_from(COLUMNS), JUNK))
def test_a_row_of_junk_is_records_or_a_data_error(name, row):
    try:
        assert records(name, row)
    except DataError as error:
        assert error.where and error.problem and error.remedy


@settings(QUICK, max_examples=60)
@given(name=st.sampled_from([name for name in FORMATS if FORMATS[name].KINDS[0] in RECORD_KINDS]), data=st.data())
def test_every_row_gives_records_or_is_listed_when_bad_rows_are_skipped(tmp_path, name, data):
    rows = [*ROWS[name], *data.draw(st.lists(mutants(ROWS[name]) | JUNK, max_size=8))]
    file = tmp_path / "a.jsonl"
    written = "".join(json.dumps(row) + "\n" for row in rows)  # surrogates as escapes
    file.write_text(written + data.draw(st.sampled_from(["", "{", "\x00\n", "[1]\n"])), "utf-8")
    (kind,), log = FORMATS[name].KINDS, Log()
    held = Source("a", DataSource(path=str(file), format=name, on_bad_row="skip"))
    count = len(list(iter_records(held, kind, "all", log)))
    bad = {int(place.split(":row ")[1].split(":")[0]) for place, _ in log.skipped}
    good = [row for number, row in read_rows(file, lambda error: None) if number not in bad]
    assert count == sum(len(records(name, row)) for row in good)
    assert len(good) + len(bad) == len([line for line in file.read_bytes().splitlines() if line.strip()])
    assert len(bad) == len(log.skipped)


def text_of(suffix):
    """A sample in a file type, as bytes."""
    rows = [{"prompt": 'say "hi",\nplease', "completion": "hé", "id": str(i)} for i in range(6)]
    if suffix in (".csv", ".tsv"):
        divider = "," if suffix == ".csv" else "\t"
        cells = [list(rows[0]), *([str(v).replace('"', '""') for v in row.values()] for row in rows)]
        return "\n".join(divider.join(f'"{cell}"' for cell in line) for line in cells).encode()
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    return (f"[{', '.join(lines)}]" if suffix == ".json" else "\n".join(lines)).encode()


CONTENTS = {suffix: text_of(suffix) for suffix in (".jsonl", ".json", ".csv", ".tsv")}
CONTENTS |= {f"{suffix}.gz": gzip.compress(content, mtime=0) for suffix, content in CONTENTS.items()}
CONTENTS |= {".parquet": FILES["messages"].read_bytes(), ".xlsx": FILES["judged"].read_bytes()}


@st.composite
def damaged(draw, content):
    """Bytes cut off, taken out, put in or changed."""
    at = draw(st.integers(0, len(content)))
    end = draw(st.integers(at, min(len(content), at + 40)))
    put = draw(st.binary(max_size=6) | st.sampled_from([b'"', b"\n", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"{"]))
    return draw(st.sampled_from([content[:at], content[:at] + content[end:], content[:at] + put + content[end:]]))


@QUICK
@given(suffix=st.sampled_from(list(CONTENTS)), data=st.data())
def test_a_damaged_file_gives_rows_or_a_data_error(tmp_path, suffix, data):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(data.draw(damaged(CONTENTS[suffix])))
    noted = []
    try:
        rows = list(read_rows(file, noted.append))
    except DataError as error:
        assert error.where.startswith(str(file)) and error.problem and error.remedy
    else:
        assert rows or noted
        numbers = [number for number, _ in rows] + [int(error.where.rsplit(":row ", 1)[1]) for error in noted]
        assert len(set(numbers)) == len(numbers) and all(isinstance(row, dict) for _, row in rows)
        if suffix in (".csv", ".tsv", ".json"):
            assert sorted(numbers) == list(range(1, len(numbers) + 1))  # none is left out


@settings(QUICK, max_examples=60)
@given(suffix=st.sampled_from([".jsonl", ".csv", ".tsv", ".json", ".xlsx", ".parquet"]), content=st.binary(max_size=60))
def test_a_file_of_any_bytes_gives_rows_or_a_data_error(tmp_path, suffix, content):
    file = tmp_path / f"a{suffix}"
    file.write_bytes(content)
    try:
        assert list(read_rows(file)) is not None
    except DataError as error:
        assert error.where.startswith(str(file)) and error.remedy
