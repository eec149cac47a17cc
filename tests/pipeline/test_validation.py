"""pydantic's findings in our words."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline import registry
from pipeline.contract import DataSource
from pipeline.errors import RecipeError
from pipeline.recipe import load_recipe

HEAD = "model: {model_name_or_path: m}\ndata: {rows: {path: r.jsonl}}\nstages: {sft: {data: rows}}\n"


def refusal(folder: Path, text: str) -> RecipeError:
    path = folder / "r.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    return caught.value


@pytest.mark.parametrize(
    ("old", "new", "problem", "remedy"),
    [
        ("path: r.jsonl", "limit: 3", "names no rows", "add path: ... (a file"),
        ("path: r.jsonl", "path: r.jsonl, from: sft", "both a path (r.jsonl) and a stage (sft)", "keep one of path"),
        ("path: r.jsonl", "frm: sft", "unknown key 'frm'", "did you mean 'from'?"),
        ("path: r.jsonl", "pth: r.jsonl", "unknown key 'pth'", "did you mean 'path'?"),
        ("path: r.jsonl", "path: r, limitt: 3", "unknown key 'limitt'", "did you mean 'limit'?"),
        ("path: r.jsonl", "path: r, on_bad_row: drop", "'on_bad_row' is 'drop'", "allowed: 'error' or 'skip'"),
        ("path: r.jsonl", "path: r, limit: 0", "'limit' is 0", "it must be greater than 0"),
        ("path: r.jsonl", "path: r, part: 0/2", "'part' is '0/2'", "it must be a part of so many, such as 1/2"),
        ("path: r.jsonl", "path: r, part: 3/2", "'3/2' is no part", 'write "1/2"'),
        ("path: r.jsonl", "path: r, task: x", "there is no task 'x'", "there are none"),
        ("_path: m", "_path: m, lora: 8", "'lora' must hold keys, found 8", "known: r, alpha, dropout"),
        ("_path: m", "_path: m, lora: {rank: 8}", "unknown key 'rank'", "known: alpha, dropout, r, target_modules"),
        ("_path: m", "_path: m, lora: {dropout: .nan}", "'dropout' is nan", "it must be a finite number"),
        ("_path: m", "_path: m, dtype: float16", "'dtype' is 'float16'", "allowed: 'float32', 'bfloat16' or 'auto'"),
        ("_path: m", "_path: ''", "'model_name_or_path' is ''", "write something"),
        ("data: rows", "data: 3", "'data' is 3", "it must be a valid string"),
        ("data: rows", "data: rows, learning_rate: -1", "'learning_rate' is -1", "it must be greater than 0"),
        ("{sft: {data: rows}}", "[sft]", "'stages' must hold keys, found ['sft']", "write stages: {key: value, ...}"),
        ("{sft: {data: rows}}", "{}", "'stages' is {}", "name at least one"),
    ],
)
def test_mistake_is_told_with_finding_and_remedy(tmp_path: Path, old: str, new: str, problem: str, remedy: str) -> None:
    error = refusal(tmp_path, HEAD.replace(old, new))
    assert error.problem.startswith(problem)
    assert error.remedy.startswith(remedy)
    assert "r.yaml:" in error.where


DESK = HEAD.replace("{sft: {data: rows}}", "{evaluate: {data: rows, candidates: [base], baselines: {b: {}}}}")


@pytest.mark.parametrize(
    ("old", "new", "problem", "remedy"),
    [
        ("[base]", "[]", "'candidates' is []", "name at least one"),
        ("b: {}", "b: {endpoint: {base_url: nota, model: m}}", "'base_url' is 'nota'", "it must be an address such as"),
        ("b: {}", "system: {systm: x}", "unknown key 'systm'", "did you mean 'system'?"),
        ("{b: {}}", "3", "'baselines' must hold keys, found 3", "write baselines: {key: value, ...}"),
        ("stages:", "tasks: {t: {json_schema: 7}}\nstages:", "'json_schema' must hold keys, found 7", "write json_sch"),
        ("stages:", "tasks: {checks: {lables: 7}}\nstages:", "unknown key 'lables'", "did you mean 'labels'?"),
    ],
)  # fmt: skip
def test_mistake_below_a_name_of_the_users_own_is_told(
    tmp_path: Path, old: str, new: str, problem: str, remedy: str
) -> None:
    error = refusal(tmp_path, DESK.replace(old, new))
    assert (error.problem, error.remedy[: len(remedy)]) == (problem, remedy)


@pytest.mark.parametrize("kind", registry.BUILT_IN)
def test_no_pattern_is_left_unsaid(kind: str) -> None:
    """A regular expression tells few people what to write: each field that has one says what it must be."""
    todo: list[Any] = [registry.load(registry.find(kind).config), DataSource]
    while todo:
        of = todo.pop()
        if isinstance(of, type) and issubclass(of, BaseModel):
            for name, info in of.model_fields.items():
                assert info.description or not any(getattr(mark, "pattern", None) for mark in info.metadata), name
                todo.append(info.annotation)
        todo += typing.get_args(of)


def test_several_unknown_keys_are_counted(tmp_path: Path) -> None:
    error = refusal(tmp_path, HEAD + "sed: 1\nnme: x\n")
    assert error.problem == "unknown key 'sed' (and 1 more)"
    assert error.where.endswith("r.yaml:4: sed")


def test_long_value_is_shortened(tmp_path: Path) -> None:
    error = refusal(tmp_path, HEAD + f"seed: {'x' * 500}\n")
    assert len(error.problem) < 100
