"""Model cards: on the page, and in the artifact."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import whole_run
from made_up_run import Folder, table

from pipeline import report
from pipeline.errors import StageFailed
from pipeline.report.card import cards, escaped, finish
from pipeline.report.folder import read_run
from pipeline.report.origin import Ingredient, MadeFrom
from pipeline.report.text import NOTHING
from pipeline.stage_run import StageRun

INPUTS = {
    "material": {
        "config": {"learning_rate": 2e-4, "max_steps": None},
        "seed": 17,
        "model": {"dtype": "float32", "content": "x"},
        "inputs": {"policy": ["base"], "reward": ["a" * 64]},
        "data": {"data": [{"name": "tickets", "digest": "b" * 64}]},
    },
    "rows": {"tickets": ["0", "1", "2"]},
    "inputs": {"rm": "a" * 64},
}


def run_with(folder: Path, readme: str | None) -> StageRun:
    run = StageRun("sft", "0" * 64, folder)
    run.unpublished.mkdir(parents=True)
    (folder / "inputs.json").write_text(json.dumps(INPUTS), "utf-8")
    if readme is not None:
        (run.unpublished / "README.md").write_text(readme, "utf-8")
    return run


def test_card_of_the_page_tells_what_the_artifact_is_made_from(tmp_path: Path) -> None:
    sft, rm, ppo = cards(read_run(whole_run.write(tmp_path / "tickets").root).stages)
    assert [card.stage for card in (sft, rm, ppo)] == ["sft", "rm", "ppo"]
    assert dict(rm.facts)["Is"] == "a reward model" and dict(sft.facts)["Trained"] == "LoRA adapter, rank 16"
    assert [(one.name, one.num_rows) for one in sft.data] == [("instructions", 420)]
    assert dict(sft.figures)["heldout/loss"] == "1.234" and sft.program == "model = load()\n"
    assert "learning_rate: 0.0002\n" in sft.settings and "max_steps" not in sft.settings


def test_card_is_left_out_when_the_stage_has_not_finished(folder: Folder) -> None:
    run = folder.stage("tune")
    (run / "output").mkdir()
    (run / "output" / "posttune.json").write_text('{"role": "policy"}')
    assert cards(read_run(folder.root).stages) == []


def test_readme_gains_digests_settings_and_figures_before_it_is_published(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", "# A policy\n\nAs the stage wrote it.\n")
    report.finish_card(run, [table("Held-out", ["figure", "value"], ["loss", 1.25]), {"type": "samples"}])
    text = (run.unpublished / "README.md").read_text("utf-8")
    assert text.startswith("# A policy\n\nAs the stage wrote it.\n\n## Made from\n")
    assert f"| input | reward | rm | {NOTHING} | `{'a' * 64}` |" in text
    assert f"| input | policy | base | {NOTHING} | {NOTHING} |" in text
    assert f"| data | data | tickets | 3 | `{'b' * 64}` |" in text
    assert "learning\\_rate" not in text and "learning_rate: 0.0002\nseed: 17\n" in text and "max_steps" not in text
    assert "### Held-out\n\n| figure | value |\n| --- | --- |\n| loss | 1.25 |" in text
    assert [path.name for path in run.unpublished.iterdir()] == ["README.md"]


def test_readme_is_kept_when_it_is_no_utf_8(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", "")
    (run.unpublished / "README.md").write_bytes("# Modèle\n".encode("latin-1"))
    report.finish_card(run, [])
    assert (run.unpublished / "README.md").read_text("utf-8").startswith("# Mod\ufffdle\n\n## Made from\n")


def test_readme_is_not_made_up_when_the_stage_wrote_none(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", None)
    report.finish_card(run, [])
    assert list(run.unpublished.iterdir()) == []


def test_readme_holds_no_markup_of_its_data_when_a_table_does(tmp_path: Path) -> None:
    attack = "a|b\n## c <img src=x> `d` [e](http://x) \u202e"
    made = MadeFrom(data=(Ingredient("data", attack),))
    text = finish("# A\n", made, [table(attack, [attack], [attack], note=attack)])
    assert "\n## c" not in text and "<img" not in text.replace("\\<", "") and "\u202e" not in text
    assert escaped("a|b") == "a\\|b" and escaped("x_y") == "x\\_y"


def test_card_that_cannot_be_written_is_the_stages_error(tmp_path: Path) -> None:
    run = run_with(tmp_path / "run", "# A policy\n")
    (run.unpublished / f"README.md.tmp-{os.getpid()}").mkdir()  # refused to the superuser, too
    with pytest.raises(StageFailed, match="card could not be written"):
        report.finish_card(run, [])
