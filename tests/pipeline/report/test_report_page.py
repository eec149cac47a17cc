"""The page as a whole: what it holds, what it must not load, and a folder that is not finished."""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable

import pytest
from made_up_run import Folder, samples, table

BIDI = "abc\u202edef\u2066ghi\u200bjkl\x1b"
HOSTILE = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{{7*7}}", BIDI]


def test_page_holds_figures_and_plan_when_stages_are_finished(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", [table("Held-out loss", ["figure", "value"], ["loss", 0.123456], ["rate", None])])
    html = page()
    assert "Held-out loss" in html and ">0.1235<" in html and ">\N{EN DASH}<" in html
    assert "3 min 05 s" in html and "2.0 GB" in html and "74756e650000" in html
    assert "<h1>tickets</h1>" in html and "Answers support tickets." in html and "LoRA, rank 16" in html


def test_page_puts_evaluation_first_when_it_ran_last(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", [table("Of training", ["a", "b"], ["x", 1])])
    folder.finished("judge", "evaluate", [table("Of evaluation", ["a", "b"], ["x", 1])])
    html = page()
    assert html.index("Of evaluation") < html.index("Of training")


@pytest.mark.parametrize("text", HOSTILE)
def test_page_shows_text_as_text_when_it_is_hostile(folder: Folder, page: Callable[[], str], text: str) -> None:
    name = text.replace("/", "|")
    recipe = {"name": text, "description": text, "stages": {name: {"kind": text}}}
    (folder.root / "recipe.yaml").write_text(json.dumps(recipe))
    line = "".join(json.dumps({"step": n, text: n, f"{text} still": 1}) + "\n" for n in range(3))
    row = {
        "prompt": text,
        "scores": [text],
        "reference": text,
        "answers": ["some words " + text, "other words " + text, json.dumps({text: text})],
    }
    fragments = [
        table(text, [text, text], [text, text], note=text),
        samples(row, candidates=[text] * 3),
        {"type": text},
    ]
    folder.finished(name, text, fragments, line, final={text: 1.0}, device=text, versions={text: text})
    html = page()
    assert (text in html) == (text == "{{7*7}}")
    assert "<img" not in html and html.count("<script") == 1 and ">49<" not in html
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b-\u200f\x00-\x08\x0b-\x1f]", html)


def test_page_names_hidden_characters_when_text_holds_them(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", [samples({"prompt": "a\u202eb", "answers": ["c\u2066d", "e\x07f"]})])
    html = page()
    assert "a[U+202E]b" in html and "c[U+2066]d" in html and "e[U+0007]f" in html


def test_page_is_written_when_text_holds_a_lone_surrogate(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", [samples({"prompt": "a\ud800b", "answers": []})])
    assert "a[U+D800]b" in page()


def test_page_loads_nothing_when_it_is_opened(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", [table("See https://example.org/a.css", ["a"], ["http://example.org"])])
    html = page()
    assert not re.search(r"\b(src|srcset|xlink:href|action|data|poster|background)\s*=", html.split("<body>")[1])
    assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', html))
    assert "<link" not in html and "@import" not in html and "url(" not in html and " style=" not in html


def test_page_policy_allows_its_own_style_and_script_and_no_other(folder: Folder, page: Callable[[], str]) -> None:
    html = page()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)
    assert policy and policy[1].startswith("default-src 'none'; ")
    for tag, rule in (("style", "style-src"), ("script", "script-src")):
        (body,) = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}';" in policy[1].replace("&#39;", "'")


def test_page_is_written_when_nothing_has_run(folder: Folder, page: Callable[[], str]) -> None:
    assert page().count("not started") >= 2


def test_page_is_written_when_the_folder_is_empty_or_torn(folder: Folder, page: Callable[[], str]) -> None:
    (folder.root / "recipe.yaml").write_text("name: [unclosed")
    (folder.root / "index.json").write_text('{"stages": {"tune"')
    assert "<h1>tickets</h1>" in page()


def test_stage_reads_stopped_when_it_left_a_torn_line_and_a_checkpoint(folder: Folder, page: Callable[[], str]) -> None:
    run = folder.stage("tune", '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo')
    (run / "checkpoints" / "step-000002").mkdir(parents=True)
    (run / "checkpoints" / "step-000002" / "MANIFEST.json").write_text("{}")
    (run / "log.txt").write_text("Traceback\nRuntimeError: <b>broke</b>\n")
    html = page()
    assert "at step 2; goes on from checkpoint step-000002" in html
    assert "RuntimeError: &lt;b&gt;broke&lt;/b&gt;" in html and html.count("<polyline") == 1


def test_stage_reads_running_when_its_lock_is_held(folder: Folder, page: Callable[[], str]) -> None:
    run = folder.stage("tune", '{"step": 7, "loss": 2.0}\n')
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert ">running<" in page()
    assert ">running<" not in page() and ">stopped<" in page()


def test_stage_reads_failed_when_it_left_an_error(folder: Folder, page: Callable[[], str]) -> None:
    folder.stage("tune", error={"code": 1, "problem": "out of memory", "where": "", "remedy": ""})
    html = page()
    assert ">failed<" in html and "out of memory" in html


def test_stage_reads_files_missing_when_its_output_is_gone(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", files={"output/model.safetensors": {"sha256": "0" * 64, "size": 9}})
    assert "files missing" in page()


def test_lineage_names_the_artifact_when_the_input_is_a_digest(folder: Folder, page: Callable[[], str]) -> None:
    run = folder.finished("judge", "evaluate", inputs={"tune": "a" * 64})
    data = [{"name": "questions", "digest": "b" * 64}]
    material = {"inputs": {"policy": ["a" * 64, "base"]}, "data": {"data": data}}
    (run / "inputs.json").write_text(json.dumps({"material": material}))
    html = page()
    assert 'policy</span> tune <code title="' + "a" * 64 in html and "policy</span> base" in html
    assert 'questions <code title="' + "b" * 64 in html


def test_page_is_the_same_when_it_is_written_twice(folder: Folder, page: Callable[[], str]) -> None:
    folder.finished("tune", "sft", metrics='{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n')
    assert page() == page() and not list(folder.root.glob("*.tmp-*"))


def test_report_costs_no_heavy_import_when_it_is_imported() -> None:
    code = "import sys, pipeline.report; print([m for m in ('jinja2', 'yaml', 'torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("odd", [None, 3, "text", [], [3], {}, {"a": [None]}, [[[]]], float("nan"), 10**400, True])
def test_page_is_written_when_a_file_holds_anything_else(folder: Folder, page: Callable[[], str], odd: object) -> None:
    plot = {"title": odd, "x_label": odd, "y_label": odd, "note": odd, "joined": odd, "diagonal": odd}
    points = [odd, {"name": odd, "x": odd, "y": 1}, {"name": odd, "x": 1, "y": 1, "low": odd, "high": odd}]
    fragments = [
        {"type": "plot", **plot, "points": points},
        {"type": "plot", **plot, "points": odd},
        {"type": "verdict", "title": odd, "sentences": odd},
        {"type": "verdict", "title": odd, "sentences": [odd]},
        {"type": odd},
    ]
    run = folder.finished("tune", "sft", fragments, files={"output/a": odd}, digest=odd)
    data, inputs = {"data": [odd, {"name": odd, "digest": odd}]}, {"policy": [odd]}
    material = {"config": odd, "seed": odd, "model": {"lora": odd}, "inputs": inputs, "data": data}
    (run / "inputs.json").write_text(json.dumps({"material": material, "rows": odd, "inputs": odd}))
    (run / "output").mkdir()
    note = {"role": "policy", "made_by": odd, "base": odd, "tuning": odd}
    (run / "output" / "posttune.json").write_text(json.dumps(note))
    assert "<h1>tickets</h1>" in page() and 'aria-label="Model card of tune"' in page()


def test_names_may_break_behind_a_sign_when_they_have_no_spaces(folder: Folder, page: Callable[[], str]) -> None:
    heads = ["figure", "few_shot", "base + few_shot", "a/<b>"]
    folder.finished("judge", "evaluate", [table("T", heads, ["label_accuracy/kind", 1, 2, 3])])
    text = page()
    assert ">label_<wbr>accuracy/<wbr>kind</th>" in text and ">few_<wbr>shot</th>" in text
    assert ">base + few_shot</th>" in text and ">a/<wbr>&lt;b&gt;</th>" in text
