"""The drawing of what came from what."""

from __future__ import annotations

import json
import re
from pathlib import Path

import whole_run
from made_up_run import Folder

from pipeline.report.folder import read_run
from pipeline.report.lineage import HEIGHT, WIDTH, lineage


def boxes(svg: str) -> dict[str, tuple[float, float]]:
    found = re.findall(r'<g class="\w+"><title>(\S+)[^<]*</title><rect x="([\d.]+)" y="([\d.]+)"', svg)
    return {name: (float(x), float(y)) for name, x, y in found}


def test_every_artifact_stands_under_what_it_was_made_from(tmp_path: Path) -> None:
    at = boxes(lineage(read_run(whole_run.write(tmp_path / "tickets").root)))
    pairs = [("instructions", "sft"), ("base", "sft"), ("sft", "collected"), ("collected", "answers"),
             ("answers", "rm"), ("rm", "ppo"), ("prompts", "ppo"), ("ppo", "evaluate")]  # fmt: skip
    assert all(at[above][1] < at[below][1] for above, below in pairs)
    assert len(set(at.values())) == len(at) == 10


def test_lines_lead_from_box_to_box_and_through_none(tmp_path: Path) -> None:
    svg = lineage(read_run(whole_run.write(tmp_path / "tickets").root))
    tops = {(x + WIDTH / 2, y) for x, y in boxes(svg).values()}
    bottoms = {(x, y + HEIGHT) for x, y in tops}
    lanes = {(float(x), float(y)) for x, y in re.findall(r'd="M([\d.]+) ([\d.]+) V', svg)}
    bends = re.findall(r'd="M([\d.]+) ([\d.]+) C.* ([\d.]+) ([\d.]+)"', svg)
    assert bends and lanes
    for x1, y1, x2, y2 in bends:
        assert (float(x1), float(y1)) in bottoms | {(x, y + HEIGHT) for x, y in lanes}
        assert (float(x2), float(y2)) in tops | lanes
    for lane in lanes:
        assert not any(x - 2 < lane[0] < x + WIDTH + 2 and y == lane[1] for x, y in boxes(svg).values())


def test_description_names_the_sources(tmp_path: Path) -> None:
    svg = lineage(read_run(whole_run.write(tmp_path / "tickets").root))
    assert "ppo from sft, rm, prompts" in svg and "answers from collected" in svg


def test_nothing_is_drawn_when_no_stage_says_what_it_is_made_from(folder: Folder) -> None:
    folder.finished("tune", "sft")
    assert lineage(read_run(folder.root)) == ""


def test_drawing_ends_when_a_damaged_folder_goes_in_circles(folder: Folder) -> None:
    for name, other in (("tune", "judge"), ("judge", "tune")):
        run = folder.finished(name, "sft", inputs={other: "a" * 64})
        (run / "inputs.json").write_text(json.dumps({"material": {"inputs": {"policy": ["a" * 64]}}}))
    assert set(boxes(lineage(read_run(folder.root)))) == {"tune", "judge"}
