"""Whatever is wrong with a recipe, a command, a data file or a model: one message, exit code 2, nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from malformed import data, recipes
from toy_project import CHATML, Project

from pipeline import cli


def assert_refused(code: int, out: str, err: str, where: str, problem: str) -> None:
    """One message that names the place, the finding and a remedy; no traceback; no file but logs under runs/."""
    assert (code, err.count("error:")) == (2, 1), err
    finding, _, remedy = err.partition("\n  -> ")
    assert finding.startswith(f"error: {where}")
    assert problem in finding
    assert remedy.strip()
    assert "Traceback" not in out + err
    assert not Path("canary").exists()
    assert [path for path in Path().glob("**/runs/**/*") if path.is_file() and path.name != "log.txt"] == []


@pytest.fixture
def refuse(project: Project, capsys: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Runs the command in this process, where no worker starts, and expects a refusal."""

    def refused(*arguments: str, where: str, problem: str) -> None:
        with pytest.raises(SystemExit) as caught:
            cli.main(list(arguments))
        assert isinstance(caught.value.code, int)
        assert_refused(caught.value.code, *capsys.readouterr(), where, problem)

    return refused


@pytest.mark.parametrize("case", recipes.CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("command", ["run", "plan"])
def test_recipe_is_refused(refuse: Callable[..., None], command: str, case: recipes.Case) -> None:
    Path("r.yaml").write_bytes(case.content)
    refuse(command, *case.arguments, where=case.where, problem=case.problem)


@pytest.mark.parametrize("case", data.CASES, ids=lambda case: case.id)
def test_data_is_refused(refuse: Callable[..., None], case: data.Case) -> None:
    Path("empty").mkdir()
    if case.content is not None:
        Path(case.file).write_bytes(case.content)
    source = f"path: '{case.file}'" + (f", {case.options}" if case.options else "")
    sections = ["model: {model_name_or_path: base-model}", f"data: {{bad: {{{source}}}}}"]
    Path("r.yaml").write_text("\n".join([*sections, f"stages: {{{case.kind}: {{data: bad}}}}"]), "utf-8")
    refuse("run", "r.yaml", where=case.where, problem=case.problem)


def test_recipes_that_extend_each_other_are_refused(refuse: Callable[..., None]) -> None:
    Path("a.yaml").write_text("extends: b.yaml\n", "utf-8")
    Path("b.yaml").write_text("extends: a.yaml\n", "utf-8")
    refuse("plan", "a.yaml", where="a.yaml", problem="extends itself")


def test_chain_of_recipes_without_end_is_refused(refuse: Callable[..., None]) -> None:
    for number in range(2000):
        Path(f"r{number}.yaml").write_text(f"extends: r{number + 1}.yaml\n", "utf-8")
    refuse("plan", "r0.yaml", where="r20.yaml:1: extends", problem="more than 20 files extend each other")


SCHEMAS = {
    "from-the-network": ({"$ref": "http://127.0.0.1:9/schema.json"}, "nothing is fetched"),
    "from-the-disk": ({"properties": {"a": {"$ref": "file:///etc/hostname"}}}, "nothing is fetched"),
    "to-nowhere": ({"items": {"$ref": "#/$defs/none"}}, "nothing is fetched"),
    "of-no-type": ({"type": "nothing"}, "not a JSON Schema"),
}


@pytest.mark.parametrize(("schema", "problem"), SCHEMAS.values(), ids=SCHEMAS)
def test_schema_is_refused(refuse: Callable[..., None], schema: dict[str, object], problem: str) -> None:
    sections = ["model: {model_name_or_path: base-model}", "data: {rows: {path: rows.jsonl, task: desk}}"]
    sections += [f"tasks: {{desk: {{json_schema: {json.dumps(schema)}}}}}", "stages: {sft: {data: rows}}"]
    Path("r.yaml").write_text("\n".join(sections), "utf-8")
    refuse("run", "r.yaml", where="tasks.desk.json_schema", problem=problem)


def test_good_rows_between_the_cases_are_good(project: Project, capsys: pytest.CaptureFixture[str]) -> None:
    from pipeline.contract import DataSource, Source
    from stages.formats import load

    Path("a.jsonl").write_bytes(data._lines(data.GOOD))
    Path("b.jsonl").write_bytes(data._ranked(["a", "b"], [2, 1]))
    assert len(load(Source("a", DataSource(path="a.jsonl")), "instruction", "all").records) == 1
    assert len(load(Source("b", DataSource(path="b.jsonl")), "comparison", "all").records) == 2


NO_END = CHATML.replace("<|im_end|>", "")
# Says how many messages there are before the first: adding a turn changes what came before it.
REWRITES = "{{ messages | length }} " + CHATML

MODELS: Mapping[str, tuple[str, str]] = {  # id -> place, finding
    "package-not-installed": ("model.model_name_or_path", "the package 'no-such-model' is not installed"),
    "folder-missing": ("./models/none", "there is no such folder"),
    "folder-without-config": ("folder-without-config", "holds no config.json"),
    "folder-without-tokenizer": ("folder-without-tokenizer", "the tokenizer could not be loaded"),
    "template-missing": ("template-missing", "no chat template"),
    "template-without-end": ("template-without-end", "writes no end token"),
    "template-that-rewrites": ("template-that-rewrites", "changes earlier turns"),
    "template-broken": ("template-broken", "the chat template refused a conversation"),
}


def model_for(case: str, root: Path, tokenizer: Path) -> str:
    """Make the malformed model; what the recipe calls it."""
    named = {"package-not-installed": "package:no-such-model", "folder-missing": "./models/none"}
    if case in named:
        return named[case]
    folder = root / case
    if case == "folder-without-config":
        folder.mkdir()
        return case
    shutil.copytree(tokenizer, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": 384}), "utf-8")
    template = {"template-without-end": NO_END, "template-that-rewrites": REWRITES, "template-broken": "{{ nope() }}"}
    if case in template:
        (folder / "chat_template.jinja").write_text(template[case], "utf-8")
    for name in {"template-missing": ["chat_template.jinja"],
                 "folder-without-tokenizer": ["tokenizer.json", "tokenizer_config.json"]}.get(case, []):  # fmt: skip
        (folder / name).unlink()
    return case


@pytest.fixture(scope="module")
def refusals(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path
) -> Callable[[str], tuple[Path, subprocess.Popen[str]]]:
    """All model cases, started together: each loads torch in a process of its own."""
    started = {}
    for case in MODELS:
        root = tmp_path_factory.mktemp(case)
        project = Project(root, {**os.environ, "HOME": str(root), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})
        project.rows()
        name = model_for(case, root, tiny_tokenizer)
        sections = [f"model: {{model_name_or_path: '{name}'}}", "data: {rows: {path: rows.jsonl}}"]
        project.write("\n".join([*sections, "stages: {sft: {data: rows}}"]))
        started[case] = (root, project.start("run", "chain.yaml"))
    return started.__getitem__


@pytest.mark.parametrize("case", MODELS)
def test_model_is_refused(
    case: str, refusals: Callable[[str], tuple[Path, subprocess.Popen[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, process = refusals(case)
    out, err = process.communicate(timeout=120)
    monkeypatch.chdir(root)
    assert_refused(process.returncode, out, err, *MODELS[case])
