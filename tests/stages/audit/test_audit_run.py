"""The stage as a gate, its cleaned rows, and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from audited import chat, look, ranked, source
from tiny_run import Log, make_context, write_rows

from pipeline import runner
from pipeline.contract import ModelConfig
from pipeline.errors import DataError, UserError
from pipeline.recipe import load_recipe
from stages import audit
from stages.audit.checks import ROW_CHECKS, SOURCE_CHECKS, WHOLE_CHECKS
from stages.audit.cleaned import layout
from stages.audit.names import CHECKS
from stages.audit.rows import read
from stages.formats import load
from stages.formats.registry import records

GOOD = [chat(f"What of {word}?", f"All about {word} is said here.") for word in ("tea", "milk", "salt", "bread")]
COPY, NO_ANSWER = GOOD[0], {"messages": GOOD[0]["messages"][:1]}
GARBLED = chat("Where do we meet?", "At the caf\u00c3\u00a9 by the cr\u00c3\u00aaperie.")
ROWS = [*GOOD, COPY, NO_ANSWER, GARBLED, chat("Card?", "lost_card"), chat("Card?", "fees")]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl", ROWS)


def run(output: Path, model: ModelConfig, rows: Path, log: Log | None = None, **options: Any) -> Any:
    return audit.run(
        audit.Config(data="rows", skip=("languages",), **options), make_context(output, model, log, data=rows)
    )


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_error_ends_the_stage_and_names_the_findings(tmp_path: Path, model: ModelConfig, rows: Path) -> None:
    with pytest.raises(
        DataError, match=r"1 finding of severity error, the first: .*rows.jsonl:row 6: messages: "
    ) as caught:
        run(tmp_path / "out", model, rows)
    assert caught.value.exit_code == 2
    assert {one["check"] for one in lines(Path(caught.value.where))} >= {"schema", "exact_duplicate", "contradiction"}


def test_rows_are_written_as_they_were_when_nothing_fails(tmp_path: Path, model: ModelConfig, rows: Path) -> None:
    result = run(tmp_path / "out", model, rows, fail_on="never")
    written = lines(tmp_path / "out" / "rows.jsonl")
    assert [row["messages"] for row in written] == [row["messages"] for row in ROWS if row is not NO_ANSWER]
    assert [(one["row"], one["check"]) for one in lines(tmp_path / "out" / "changes.jsonl")] == [(6, "schema")]
    assert result.metrics["audit/num_written"] + result.metrics["audit/num_refused"] == len(ROWS)


def test_cleaned_rows_lack_what_is_listed(tmp_path: Path, model: ModelConfig, rows: Path) -> None:
    before = rows.read_bytes()
    run(tmp_path / "out", model, rows, fix=True)
    written = lines(tmp_path / "out" / "rows.jsonl")
    assert [row["messages"] for row in written[:4]] == [row["messages"] for row in GOOD]
    assert written[4]["messages"][1]["content"] == "At the caf\u00e9 by the cr\u00eaperie."
    listed = lines(tmp_path / "out" / "changes.jsonl")
    changes = {(one["row"], one["what"], one["check"]) for one in listed}
    assert changes == {
        (5, "left out", "exact_duplicate"),
        (6, "left out", "schema"),
        (7, "changed", "damaged_characters"),
        (8, "left out", "contradiction"),
        (9, "left out", "contradiction"),
    }
    assert len(written) == 5 and rows.read_bytes() == before


def test_warning_ends_the_stage_when_it_is_asked_to(tmp_path: Path, model: ModelConfig) -> None:
    rows = write_rows(tmp_path / "rows.jsonl", [*GOOD, COPY])
    run(tmp_path / "one", model, rows)
    with pytest.raises(DataError, match="1 finding of severity warning or above"):
        run(tmp_path / "two", model, rows, fail_on="warning")


def test_sources_of_several_kinds_are_refused(tmp_path: Path, model: ModelConfig) -> None:
    other = write_rows(tmp_path / "pairs.jsonl", [ranked("Which?", ["one", "two"], [1, 2])])
    with pytest.raises(DataError, match="several kinds of records: comparison, instruction"):
        run(tmp_path / "out", model, [write_rows(tmp_path / "rows.jsonl", GOOD), other])  # type: ignore[arg-type]


def test_unknown_check_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match="there is no check 'near_duplicat' -> did you mean 'near_duplicate'"):
        audit.Config(data="rows", skip=("near_duplicat",))


@pytest.mark.parametrize("name", ["schema", "template"])
def test_what_training_stops_at_cannot_be_skipped(name: str) -> None:
    with pytest.raises(ValueError, match=f"'{name}' cannot be skipped"):
        audit.Config(data="rows", skip=(name,))


def test_source_cannot_be_held_against_itself() -> None:
    with pytest.raises(ValueError, match="'rows' is in data and in against"):
        audit.Config(data=("rows", "more"), against="rows")


def test_every_check_has_its_names() -> None:
    assert set(CHECKS) == {*ROW_CHECKS, *SOURCE_CHECKS, *WHOLE_CHECKS}


@pytest.mark.parametrize(
    "name",
    ["messages.parquet", "sharegpt.json", "pairs.jsonl", "nectar.json", "prompts.jsonl", "text.jsonl", "kto.jsonl"],
)
def test_written_rows_are_read_back_as_the_same_records(tmp_path: Path, name: str) -> None:
    given = source(tmp_path / name, (Path("data/formats") / name).read_bytes())
    records = [(row.record, layout(row.record, row.raw)) for row in read([(given, False)])]
    back = source(tmp_path / "again.jsonl", [row for _, row in records])
    assert [row.record for row in read([(back, False)])] == [record for record, _ in records] != []


def test_second_process_finds_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look(tmp_path, ROWS[4:7])
    before = Counter((tmp_path / "findings.jsonl").read_text("utf-8").splitlines())
    monkeypatch.setattr("stages.audit.row_by_row.MUCH", 1)
    look(tmp_path, ROWS[4:7])
    assert Counter((tmp_path / "findings.jsonl").read_text("utf-8").splitlines()) == before
    assert any('"damaged_characters"' in line for line in before)


RECIPE = """\
name: gate
model: {{model_name_or_path: {model}}}
data:
  raw: {{path: rows.jsonl}}
  clean: {{from: audit}}
stages:
  audit: {{data: raw, skip: [languages]}}
  sft: {{policy: base, data: clean, max_steps: 1, eval_prompts: 0}}
"""


@pytest.fixture
def gate(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(audit.__file__).parents[2]))
    Path("gate.yaml").write_text(RECIPE.format(model=tiny_model), "utf-8")
    write_rows(Path("rows.jsonl"), ROWS)
    return tmp_path


def test_gate_stops_the_run_and_keeps_the_findings(gate: Path) -> None:
    with pytest.raises(UserError, match="severity error") as caught:
        runner.run(load_recipe("gate.yaml"), Path("runs"), ("sft",), say=lambda line: None)
    assert {one["check"] for one in lines(Path(caught.value.where))} >= {"schema", "contradiction"}
    assert not list(Path("runs/gate/sft").glob("*/output"))


def test_gate_lets_cleaned_rows_through(gate: Path) -> None:
    recipe = load_recipe("gate.yaml", ["audit.fix=true"])
    runner.run(recipe, Path("runs"), ("audit",), say=lambda line: None)
    (made,) = Path("runs/gate/audit").glob("*/output/rows.jsonl")
    assert {path.name for path in made.parent.iterdir()} == {
        "rows.jsonl",
        "findings.jsonl",
        "changes.jsonl",
        "summary.json",
    }
    assert len(load(source_of(made), "instruction", "all").records) == 5


def source_of(path: Path) -> Any:
    return source(path.with_name("copy.jsonl"), path.read_bytes())


def test_command_tells_what_it_found_and_writes_a_cleaned_copy(gate: Path) -> None:
    command = [sys.executable, "-m", "pipeline", "audit", "gate.yaml", "--set", "audit.skip=[languages]"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("error:")) == (2, 1)
    assert "schema" in done.stdout and "Lengths" in done.stdout and "Traceback" not in done.stderr
    found = [one["check"] for one in lines(Path("runs/gate.audit/findings.jsonl"))]
    assert sorted(found) == ["contradiction", "damaged_characters", "exact_duplicate", "schema"]
    done = subprocess.run([*command, "--fix", "clean", "--data", "raw"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(lines(Path("clean/raw.jsonl"))) == 5


@pytest.mark.parametrize(("arguments", "problem"), [
    (["--data", "rwa"], "there is no data source 'rwa'"), (["--data", "clean"], "are written by stage 'audit'"),
    (["--data", "raw", "--against", "raw"], "'raw' is to be held against itself"),
    (["--against", "rows.jsonl"], "'rows.jsonl' is to be held against itself"),
    (["--set", "audit.skip=[leek]"], "did you mean 'leak'?"),
    (["--against", "none.jsonl"], "there is no data source 'none.jsonl'"), (["--fail-on", "note"], "note"),
])  # fmt: skip
def test_command_refuses_what_it_cannot_look_at(gate: Path, arguments: list[str], problem: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "audit", "gate.yaml", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 2 and problem in done.stderr and "Traceback" not in done.stderr


def fix_into(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline", "audit", "gate.yaml", "--set", "audit.skip=[languages,token_lengths]"]
    return subprocess.run([*command, "--fix", str(folder), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["summary.json", "raw.jsonl", "notes.txt"])
def test_command_refuses_a_folder_that_holds_what_is_not_its_own(gate: Path, name: str) -> None:
    Path("mine").mkdir()
    Path("mine", name).write_text("{}\n", "utf-8")
    done = fix_into(Path("mine"))
    assert done.returncode == 2 and f"holds what no earlier audit wrote: {name}" in done.stderr
    assert [(path.name, path.read_text("utf-8")) for path in Path("mine").iterdir()] == [(name, "{}\n")]


def test_command_refuses_the_folder_of_its_source(gate: Path) -> None:
    before = sorted(path.name for path in gate.iterdir())
    done = fix_into(Path())
    assert done.returncode == 2 and "holds the data source 'raw'" in done.stderr
    assert sorted(path.name for path in gate.iterdir()) == before


def test_command_writes_again_into_a_folder_that_it_wrote(gate: Path) -> None:
    assert [fix_into(Path("clean")).returncode for _ in range(2)] == [0, 0]
    Path("clean", "notes.txt").write_text("mine", "utf-8")
    assert fix_into(Path("clean")).returncode == 2


def test_command_holds_against_the_rows_what_the_recipes_audit_stage_names(gate: Path) -> None:
    test = "data.test={path: test.jsonl, split: all}"
    Path("test.jsonl").write_text(json.dumps({"prompt": "What of salt?"}) + "\n", "utf-8")
    done = fix_into(Path("clean"), "--set", test, "--set", "audit.against=test")
    assert (done.returncode, Path("clean/test.jsonl").exists()) == (0, False)
    assert [one["row"] for one in lines(Path("clean/findings.jsonl")) if one["check"] == "leak"] == [3]


def test_command_refuses_records_that_the_stage_behind_the_gate_does_not_take(gate: Path) -> None:
    write_rows(Path("rows.jsonl"), [{"prompt": "Hi", "completion": "Hello there.", "label": True}])
    done = fix_into(Path("clean"))
    assert done.returncode == 2 and "no KTO objective exists yet" in done.stderr
    (found,) = [one for one in lines(Path("clean/findings.jsonl")) if one["severity"] == "error"]
    assert (found["check"], found["row"]) == ("schema", None)


def test_error_repeats_the_remedy_and_names_no_fix_that_cannot_help(gate: Path) -> None:
    Path("rows.jsonl").write_text('{"prompt": "Hi", "chosen": "a", "rejected": "b"}\n', "utf-8")
    command = [sys.executable, "-m", "pipeline", "audit", "gate.yaml", "--set", "data.raw.map={prompt: promt}"]
    done = subprocess.run([*command, "--set", "audit.skip=[languages]"], capture_output=True, text=True)
    assert done.returncode == 2 and "did you mean 'prompt'?" in done.stderr and "did you mean 'prompt'?" in done.stdout
    assert "--fix" not in done.stderr


def test_weight_of_a_ranking_and_every_other_field_come_through_the_canonical_row() -> None:
    row = {
        "id": "c1",
        "prompt": [{"role": "user", "content": "ask"}],
        "completions": ["x", "y"],
        "rankings": [{"annotator": "ann", "ranks": [1, 2], "weight": 0.5}, {"annotator": "bo", "ranks": [2, 1]}],
        "source": "a batch",
    }
    (record,) = records("ranked", row)
    assert layout(record, row) == row


@pytest.mark.parametrize(
    ("form", "row"),
    [
        ("documents", {"id": "d1", "text": "Loans run for four weeks.", "title": "Loans"}),
        ("messages", {
            "id": "m1",
            "messages": [{"role": "user", "content": "Say hi"}, {"role": "assistant", "content": "Hi"}],
            "references": ["Hi", "Hello"],
        }),
    ],
)  # fmt: skip
def test_title_and_right_answers_come_through_the_canonical_row(form: str, row: dict[str, Any]) -> None:
    (record,) = records(form, row)
    assert layout(record, row) == row
