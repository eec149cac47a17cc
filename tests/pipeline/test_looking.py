"""`posttune preview`: the command, its page, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from toy_project import Project

from pipeline import cli

Call = Callable[..., tuple[int, str, str]]
RECIPE = """\
name: looked
model: {{model_name_or_path: {model}}}
data:
  rows: {{path: rows.jsonl, split: all}}
  written: {{from: writer, split: all}}
stages:
  sft: {{data: rows}}
  writer: {{kind: toy-rows, data: rows}}
  again: {{kind: sft, data: written}}
"""


@pytest.fixture
def call(project: Project, capsys: pytest.CaptureFixture[str]) -> Call:
    project.write(RECIPE.format(model="base-model"), "looked.yaml")

    def called(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(["preview", *arguments])
        return (int(caught.value.code or 0), *capsys.readouterr())

    return called


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["looked.yaml"], "Missing argument"),
        (["none.yaml", "sft"], "cannot be read"),
        (["looked.yaml", "stf"], "there is no stage 'stf'"),
        (["looked.yaml", "sft", "--rows", "0"], "--rows"),
        (["looked.yaml", "sft", "--html", "none/page.html"], "its folder does not exist"),
        (["looked.yaml", "sft", "--html", "."], "is a folder"),
        (["looked.yaml", "sft", "--set", "sft.max_lenth=5"], "max_lenth"),
        (["looked.yaml", "again"], "the stage 'writer' writes its rows"),
    ],
    ids=" ".join,
)
def test_wrong_command_ends_with_2_and_one_message(call: Call, arguments: list[str], problem: str) -> None:
    code, out, err = call(*arguments)
    assert (code, out, err.count("error:")) == (2, "", 1)
    assert problem in err and "\n  -> " in err
    assert not Path("runs").exists()


def test_rows_of_a_stage_that_has_not_run_name_the_command_that_makes_them(call: Call) -> None:
    assert "-> posttune run looked.yaml writer" in call("looked.yaml", "again")[2]


def test_preview_shows_rows_and_writes_a_page(project: Project, tiny_model: Path) -> None:
    project.write(RECIPE.format(model=tiny_model), "looked.yaml")
    result = project.command("preview", "looked.yaml", "sft", "--rows", "2", "--html", "page.html")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\nrow ") == 2
    assert "⟦" in result.stdout and "\x1b" not in result.stdout
    assert "conversation" in (project.root / "page.html").read_text("utf-8")
    assert not (project.root / "runs").exists()
    again = project.command("preview", "looked.yaml", "sft", "--html", "page.html")  # its own page may be made anew
    assert (again.returncode, again.stderr) == (0, "")


@pytest.mark.parametrize("held", ["", "<!doctype html>\n<html>my own</html>\n", "{}\n"])
def test_file_that_is_no_page_of_a_preview_is_not_written_over(call: Call, held: str) -> None:
    Path("mine.html").write_text(held, "utf-8")
    code, _, err = call("looked.yaml", "sft", "--html", "mine.html")
    assert code == 2 and "exists, and is no page that a preview wrote" in err
    assert Path("mine.html").read_text("utf-8") == held


def test_preview_reads_the_rows_that_a_stage_has_written(project: Project, tiny_model: Path) -> None:
    project.write(RECIPE.format(model=tiny_model), "looked.yaml")
    assert project.command("run", "looked.yaml", "writer").returncode == 0
    result = project.command("preview", "looked.yaml", "again")
    assert (result.returncode, result.stderr) == (0, "")
    assert "data: written" in result.stdout and "⟦" in result.stdout
