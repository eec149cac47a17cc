"""Reading files: numbers of rows, and an error with its place for whatever cannot be read."""

from __future__ import annotations

import codecs
import gzip
import json

import pytest

from pipeline.errors import DataError
from stages.formats import expand, read_rows
from stages.formats.files import name_in


def write(folder, name, content):
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return file


def error_of(file):
    with pytest.raises(DataError) as caught:
        list(read_rows(file))
    return caught.value


@pytest.mark.parametrize("name, content", [
    ("a.jsonl", '{"k": "é"}\n\n{"k": "2"}\n'),
    ("a.json", '[{"k": "é"},\n {"k": "2"}]'),
    ("a.csv", 'k\n"é"\n2\n'),
    ("a.tsv", "k\r\né\r\n2\r\n"),
])  # fmt: skip
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("packed", [False, True])
def test_rows_are_read_when_file_is_text(tmp_path, name, content, bom, packed):
    data = bom + content.encode()
    file = write(tmp_path, name + ".gz" * packed, gzip.compress(data) if packed else data)
    second = 3 if name == "a.jsonl" else 2
    assert list(read_rows(file)) == [(1, {"k": "é"}), (second, {"k": "2"})]


def test_rows_are_read_when_json_file_holds_lines(tmp_path):
    assert list(read_rows(write(tmp_path, "a.json", '{"k": 1}\n{"k": 2}\n'))) == [(1, {"k": 1}), (2, {"k": 2})]


def test_csv_rows_keep_line_breaks_and_quotes_when_quoted(tmp_path):
    file = write(tmp_path, "a.csv", 'x,y\n"one\ntwo","say ""hi"""\n3,4\n')
    assert list(read_rows(file)) == [(1, {"x": "one\ntwo", "y": 'say "hi"'}), (2, {"x": "3", "y": "4"})]


@pytest.mark.parametrize("name, content, where, problem", [
    ("a.jsonl", '{"k": 1}\n{"k": \n', ":row 2", "is not JSON"),
    ("a.jsonl", '{"k": 1}\n[1, 2]\n', ":row 2", "is [1, 2]; a JSON object is needed"),
    ("a.jsonl", b'{"k": 1}\n{"k": "\x92"}\n', ":row 2", "not UTF-8 at byte 16 (0x92)"),
    ("a.jsonl", b'{"k": 1}\n{"k": "\x00"}\n', ":row 2", "a NUL byte at byte 16"),
    ("a.json", b'\xef\xbb\xbf[{"k": "\x92"}]', "a.json", "not UTF-8 at byte 11 (0x92)"),
    ("a.json", '[{"k": 1}, "text"]', ":row 2", 'is "text"; a JSON object is needed'),
    ("a.json", '[{"k": 1},', "a.json", "is not JSON"),
    ("a.csv", b"k,l\n1,2\n3,\x92\n", ":row 2", "not UTF-8 at byte 10 (0x92)"),
    ("a.csv", "k,l\n1,2\n3\n", ":row 2", "1 cells under 2 columns"),
    ("a.csv", 'k,l\n1,"2\n', ":row 1", "cannot be split into cells"),
    ("a.csv", "k,k\n1,2\n", ":header", "column names must be present and different; found 'k', 'k'"),
    ("a.jsonl", "", "a.jsonl", "the file has no rows"),
    ("a.csv", "k,l\n", "a.csv", "the file has no rows"),
    ("a.json", "[]", "a.json", "the file has no rows"),
    ("a.jsonl.gz", b"not gzip", "a.jsonl.gz", "cannot be read"),
    ("a.jsonl.gz", gzip.compress(b'{"k": 1}\n' * 99, mtime=0)[:-12], "a.jsonl.gz", "cannot be read"),
    ("a.csv", "k,l\n1,2\n".encode("utf-16"), "a.csv", "is UTF-16 text; UTF-8 is needed"),
    ("a.jsonl", '{"k": 1}\n'.encode("utf-16-le"), ":row 1", "a NUL byte at byte 1, as in UTF-16"),
    ("a.csv", "k,l\ncafé,2\n".encode("cp1252"), ":row 1", "not UTF-8 at byte 7 (0xe9); in Windows-1252 that is é"),
    ("a.parquet", b"PAR1 not PAR1", "a.parquet", "is not a readable Parquet file"),
    ("a.ods", b"PK", "a.ods", "unknown file type '.ods'"),
])  # fmt: skip
def test_reading_fails_with_place_and_reason_when_file_is_broken(tmp_path, name, content, where, problem):
    error = error_of(write(tmp_path, name, content))
    assert error.where.endswith(where) and error.where.startswith(str(tmp_path))
    assert error.problem.startswith(problem)
    assert error.remedy


def test_reading_goes_on_when_bad_rows_are_noted(tmp_path):
    noted = []
    file = write(tmp_path, "a.jsonl", b'{"k": 1}\n{\n7\n{"k": "\xff"}\n{"k": 5}\n')
    assert list(read_rows(file, noted.append)) == [(1, {"k": 1}), (5, {"k": 5})]
    assert [error.where for error in noted] == [f"{file}:row {n}" for n in (2, 3, 4)]


def test_reading_a_csv_goes_on_when_bad_records_are_noted(tmp_path):
    noted = []
    file = write(tmp_path, "a.csv", b"k,l\n1,\xff\n3\n5,6\n")
    assert list(read_rows(file, noted.append)) == [(3, {"k": "5", "l": "6"})]
    assert [error.where for error in noted] == [f"{file}:row 1", f"{file}:row 2"]


def test_reading_a_csv_goes_on_at_the_next_line_when_a_quote_is_not_closed(tmp_path):
    noted = []
    file = write(tmp_path, "a.tsv", 'k\tl\n1\t"two\n3\t4\n"5\n6"\t7\n')
    assert list(read_rows(file, noted.append)) == [(2, {"k": "3", "l": "4"}), (3, {"k": "5\n6", "l": "7"})]
    assert [error.where for error in noted] == [f"{file}:row 1"]


@pytest.mark.parametrize("content", ["k;l\n1,5;2\n", "k\tl\n1,5\t2\n", '"k";"l"\n"1,5";"2"\n'])
def test_csv_is_divided_as_its_header_is_when_that_has_no_comma(tmp_path, content):
    assert list(read_rows(write(tmp_path, "a.csv", content))) == [(1, {"k": "1,5", "l": "2"})]


def test_csv_keeps_its_comma_when_the_header_has_both(tmp_path):
    assert list(read_rows(write(tmp_path, "a.csv", "k;m,l\n1;3,2\n"))) == [(1, {"k;m": "1;3", "l": "2"})]


@pytest.mark.parametrize("indent", [None, 2])
def test_rows_of_one_object_are_read_when_data_or_table_names_them(tmp_path, indent):
    whole = {"version": "1", "data": [{"k": 1}], "train": [{"k": 2}, ["a", "b"]]}
    file = write(tmp_path, "a.json", json.dumps(whole, indent=indent))
    assert list(read_rows(file)) == [(1, {"k": 1})]
    assert list(read_rows(file, table="train")) == [(1, {"k": 2}), (2, {"column1": "a", "column2": "b"})]


@pytest.mark.parametrize("indent", [None, 2])
def test_one_object_is_one_row_when_it_holds_no_rows(tmp_path, indent):
    file = write(tmp_path, "a.json", json.dumps({"k": [1], "data": "x"}, indent=indent) + "\n\n")
    assert list(read_rows(file)) == [(1, {"k": [1], "data": "x"})]


@pytest.mark.parametrize("name, content, problem", [
    ("a.json", '{"k": [1]}', "has no list 'train', which `table` names; it has k"),
    ("a.json", '{"k": [1]}\n{"k": [2]}', "has no tables, and `table` names 'train'"),
    ("a.json", '[{"k": 1}]', "has no tables"),
    ("a.csv", "k\n1\n", "has no tables"),
])  # fmt: skip
def test_reading_fails_when_there_is_no_such_table(tmp_path, name, content, problem):
    file = write(tmp_path, name, content)
    with pytest.raises(DataError) as caught:
        list(read_rows(file, table="train"))
    assert caught.value.where == str(file) and caught.value.problem.startswith(problem) and caught.value.remedy


def test_missing_file_is_an_error_with_the_nearest_name_when_there_is_one(tmp_path):
    near = write(tmp_path, "comparisons.jsonl", "{}")
    with pytest.raises(DataError) as caught:
        expand(tmp_path / "comparison.jsonl")
    assert caught.value.remedy == f"did you mean '{near}'?"


def test_expand_gives_sorted_data_files_when_given_folder_or_glob(tmp_path):
    for name in ("b.jsonl", "a.csv.gz", "README.md", ".hidden.jsonl"):
        write(tmp_path, name, "x")
    assert [p.name for p in expand(tmp_path)] == ["a.csv.gz", "b.jsonl"]
    assert [p.name for p in expand(f"{tmp_path}/*.jsonl")] == ["b.jsonl"]


def test_expand_gives_texts_when_a_folder_has_no_tables(tmp_path):
    for name in ("b.md", "a.txt", ".hidden.md", "c.pdf"):
        write(tmp_path, name, "x")
    assert [p.name for p in expand(tmp_path)] == ["a.txt", "b.md"]


@pytest.mark.parametrize("bom", [b"", codecs.BOM_UTF8])
def test_text_file_is_one_row_with_its_name_when_read(tmp_path, bom):
    text = "# Über uns\r\n\nTwo lines,\nand {no} JSON.\n"
    (tmp_path / "about.md").write_bytes(bom + text.encode())
    assert list(read_rows(tmp_path / "about.md")) == [(1, {"id": "about.md", "text": text})]


@pytest.mark.parametrize("content, problem", [
    (b"caf\xe9", "not UTF-8 at byte 3"), (b"a\x00b", "a NUL byte at byte 1"), (b"", "the file has no rows"),
])  # fmt: skip
def test_text_file_is_refused_when_its_bytes_are_no_text(tmp_path, content, problem):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=problem):
        list(read_rows(tmp_path / "a.txt"))


@pytest.mark.parametrize("path, name", [
    ("", "a.md"), ("*.md", "a.md"), ("a.md", "a.md"), ("*/*.md", "in/b.md"), ("**/*.md", "in/b.md"),
    ("in/*.md", "b.md"), ("[i]n/b.md", "in/b.md"),
])  # fmt: skip
def test_name_is_the_one_inside_what_the_path_says_without_wildcards(tmp_path, path, name):
    (tmp_path / "in").mkdir()
    for file in ("a.md", "in/b.md"):
        write(tmp_path, file, "x")
    assert name in [name_in(tmp_path / path, file) for file in expand(tmp_path / path)]


def test_expand_fails_when_nothing_matches(tmp_path):
    for path in (tmp_path, f"{tmp_path}/*.jsonl"):
        with pytest.raises(DataError):
            expand(path)
