"""What stands on top of the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import whole_run
from made_up_run import Folder

from pipeline import report
from pipeline.report.folder import read_run
from pipeline.report.verdict import how_to_get_one


def index(folder: Folder, recipe: str) -> None:
    found = json.loads((folder.root / "index.json").read_text("utf-8"))
    (folder.root / "index.json").write_text(json.dumps({**found, "recipe": recipe}), "utf-8")


def test_verdict_stands_above_everything_else(tmp_path: Path) -> None:
    html = report.write(whole_run.write(tmp_path / "tickets").root).read_text("utf-8")
    places = [html.index(sentence) for sentence in whole_run.SENTENCES]
    assert places == sorted(places) and places[-1] < html.index('aria-label="Stages"')
    assert "No verdict yet" not in html


def test_command_is_given_when_the_evaluation_has_not_run(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft")
    index(folder, "../../recipes/tickets.yaml")
    assert "judge has not finished yet." in page() and "posttune run recipes/tickets.yaml judge<" in page()


def test_stage_is_named_when_the_recipe_has_no_evaluation(folder: Folder, page: Callable[[], str]) -> None:
    (folder.root / "recipe.yaml").write_text("name: tickets\nstages: {tune: {kind: sft}}\n", "utf-8")
    assert "Add evaluate: under stages:" in page() and "posttune run RECIPE evaluate<" in page()


def test_evaluation_is_run_anew_when_it_left_no_verdict(folder: Folder) -> None:
    folder.finished("judge", "evaluate")
    index(folder, "~/recipes/tickets.yaml")
    why, command = how_to_get_one(read_run(folder.root))
    assert "left none" in why and command == "posttune run ~/recipes/tickets.yaml judge --force judge"
