"""YAML with lines: values as people mean them, and every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import yaml_lines
from pipeline.errors import RecipeError


def read(folder: Path, text: str | bytes) -> yaml_lines.Document:
    path = folder / "r.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return yaml_lines.load(path)


@pytest.mark.parametrize(
    ("text", "value"), [("2e-4", 2e-4), ("2.0e-4", 2e-4), ("1E3", 1000.0), (".5e1", 5.0), ("-1e-5", -1e-5)]
)
def test_number_is_float_when_written_with_an_exponent(tmp_path: Path, text: str, value: float) -> None:
    assert read(tmp_path, f"a: {text}").data == {"a": value}


@pytest.mark.parametrize("text", ["e4", "2e", "v2e4", "1e4x"])
def test_scalar_stays_text_when_it_only_resembles_a_number(tmp_path: Path, text: str) -> None:
    assert read(tmp_path, f"a: {text}").data == {"a": text}


def test_where_names_file_and_line_of_each_key(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb:\n  c:\n    - x\n    - d: 2\n")
    file = tmp_path / "r.yaml"
    assert document.where(("b", "c")) == f"{file}:3: b.c"
    assert document.where(("b", "c", 1, "d")) == f"{file}:5: b.c.1.d"


def test_where_names_the_nearest_parent_when_the_key_is_absent(tmp_path: Path) -> None:
    document = read(tmp_path, "a: 1\nb: {c: 2}\n")
    assert document.where(("b", "zzz")) == f"{tmp_path / 'r.yaml'}:2: b.zzz"


def test_duplicate_key_is_refused_at_its_second_line(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="'b' is given twice") as caught:
        read(tmp_path, "a:\n  b: 1\n  c: 2\n  b: 3\n")
    assert caught.value.where.endswith("r.yaml:4")


def test_alias_is_followed_when_it_is_small(tmp_path: Path) -> None:
    assert read(tmp_path, "a: &x {r: 8}\nb: *x\n").data == {"a": {"r": 8}, "b": {"r": 8}}


def test_alias_bomb_is_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(RecipeError, match="more than 100000 values"):
        read(tmp_path, "\n".join(lines))


def test_value_that_holds_itself_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="nested too deep"):
        read(tmp_path, "a: &a [*a]\n")


@pytest.mark.parametrize(
    ("text", "problem", "line"),
    [
        ("a: 1\n\tb: 2\n", "not valid YAML", ":2"),
        ("a: [1, 2\nb: 3\n", "not valid YAML", ":2"),
        ("a: !!python/object:os.system x\n", "not valid YAML", ":1"),
        ("a: !!python/object/apply:os.getcwd []\n", "os.getcwd is not allowed", ":1"),
        ("a: 1\nb: !!set {x}\n", "is not allowed", ":2"),
        ("a: 1\n2: x\n", "a key must be text, found 2", ":2"),
        ("a: 1\nb: 2026-02-31\n", "'2026-02-31' is no value", ":2"),
        ("a: 1\nb: " + "9" * 5000 + "\n", "is no value", ":2"),
        ("- a\n- b\n", "a recipe is a mapping of keys, found a list", ""),
        ("", "the file is empty", ""),
        ("# only a comment\n", "the file is empty", ""),
        ("a: 1\n---\nb: 2\n", "not valid YAML", ":2"),
        ("a: \x07\n", "not valid YAML", ""),
        (b"name: caf\xe9\n", "not UTF-8 text .byte 9", ""),
    ],
)
def test_file_is_refused_with_its_line_when_it_is_not_plain_yaml(
    tmp_path: Path, text: str | bytes, problem: str, line: str
) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        read(tmp_path, text)
    assert caught.value.where == f"{tmp_path / 'r.yaml'}{line}"
    assert caught.value.remedy


def test_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert read(tmp_path, b"\xef\xbb\xbfa: 1\n").data == {"a": 1}


@pytest.mark.parametrize(("text", "value"), [("0.05", 0.05), ("1e-3", 1e-3), ("[a, b]", ["a", "b"]), ("null", None)])
def test_parse_scalar_reads_as_a_recipe_does(text: str, value: object) -> None:
    assert yaml_lines.parse_scalar(text) == value


@pytest.mark.parametrize("text", ["[1, 2", "*nowhere", "2026-02-31"])
def test_parse_scalar_raises_when_it_is_not_yaml(text: str) -> None:
    with pytest.raises(ValueError, match="is not valid YAML"):
        yaml_lines.parse_scalar(text)
