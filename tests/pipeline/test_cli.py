"""The command line: commands, exit codes and messages."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_project import Project

from pipeline import cli, runner
from pipeline.errors import nearest

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(project: Project, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs the command in this process: its exit code, what it printed, and its errors."""

    def called(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            cli.main(list(arguments))
        out, err = capsys.readouterr()
        return int(caught.value.code or 0), out, err

    return called


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["run"],
        ["plan"],
        ["run", "chain.yaml", "--nope"],
        ["run", "chain.yaml", "--set"],
        ["status", "a", "b"],
        ["run", "none.yaml"],
        ["plan", "chain.yaml", "stf"],
        ["run", "chain.yaml", "--force", "stf"],
        ["report", "chain.yaml"],
    ],
    ids=" ".join,
)
def test_wrong_command_ends_with_2_and_one_message(call: Call, arguments: list[str]) -> None:
    code, out, err = call(*arguments)
    assert (code, out, err.count("error:")) == (2, "", 1)
    assert "\n  -> " in err
    assert not Path("runs").exists()


def test_wrong_choice_is_told_without_pydantics_words_and_with_the_commands_own_help(call: Call) -> None:
    code, _, err = call("export", "chain.yaml", "sft", "--to", "out", "--dtype", "int8")
    assert code == 2
    assert "error: Invalid value for '--dtype': 'int8' is not one of 'float32', 'bfloat16', 'float16'." in err
    assert re.search(r"\n  -> .* export --help$", err.strip())


def test_plan_shows_stage_action_and_reason_on_one_line_each(call: Call) -> None:
    code, out, _ = call("plan", "chain.yaml")
    assert code == 0
    assert [line.split(maxsplit=2) for line in out.splitlines()[1:4]] == [
        ["sft", "run", "not run yet"],
        ["rm", "run", "sft will change"],
        ["ppo", "run", "rm will change; sft will change"],
    ]
    assert "sft: 6 steps" in out


def test_plan_keeps_long_reasons_whole_when_piped(call: Call, project: Project) -> None:
    text = Path("chain.yaml").read_text("utf-8")
    names = [f"a-rather-long-stage-name-{i}" for i in range(6)]
    extra = "".join(f"  {name}: {{kind: toy, data: rows}}\n" for name in names)
    project.write(text + extra + "  last: {kind: evaluate, data: rows, candidates: [" + ", ".join(names) + "]}\n")
    _, out, _ = call("plan", "chain.yaml")
    assert f"{'; '.join(f'{name} will change' for name in names)}; rm will change" in out


def test_show_prints_a_recipe_that_loads_to_itself(call: Call, project: Project) -> None:
    _, out, _ = call("show", "chain.yaml", "--set", "ppo.kl_coef=1e-5")
    project.write(out, "resolved.yaml")
    assert call("show", "resolved.yaml") == (0, out, "")


def test_status_before_during_and_after(call: Call, project: Project) -> None:
    assert "not run yet" in call("status", "chain.yaml")[1]
    assert project.command("run", "chain.yaml", "sft").returncode == 0
    assert project.command("run", "chain.yaml", "rm", "--set", "rm.fail=bug", "--set", "rm.fail_at=4").returncode == 1
    lines = call("status", "chain.yaml")[1].splitlines()
    assert "done in" in lines[1]
    assert "loss 0.1667" in lines[1]
    assert "stopped, has a checkpoint" in lines[2]
    assert "not run yet" in lines[3]


def test_status_passes_over_what_counts_the_data_when_there_are_results(call: Call, project: Project) -> None:
    assert project.command("run", "chain.yaml", "sft").returncode == 0
    file = project.stage_folder("sft") / "manifest.json"
    counted = {f"data/num_{n}": n for n in range(5)}
    for metrics, shown in (
        ({**counted, "heldout/loss": 1.5, "heldout/kl": 0.25}, "  heldout/loss 1.5  heldout/kl 0.25  "),
        (counted, "  data/num_0 0  data/num_1 1  data/num_2 2  data/num_3 3  "),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text("utf-8")), "metrics": metrics}), "utf-8")
        assert shown in call("status", "chain.yaml")[1]


def test_report_is_written_anew(call: Call, project: Project) -> None:
    assert project.command("run", "chain.yaml", "sft").returncode == 0
    Path("runs/chain/report.html").unlink()
    assert call("report", "chain.yaml")[:2] == (0, "report: runs/chain/report.html\n")
    assert Path("runs/chain/report.html").is_file()


def test_runs_go_where_they_are_told(call: Call, project: Project) -> None:
    assert project.command("run", "chain.yaml", "sft", "--runs", "deep/er").returncode == 0
    assert not Path("runs").exists()
    assert "done in" in call("status", "chain.yaml", "--runs", "deep/er")[1]


def test_names_in_square_brackets_are_shown_as_they_are(call: Call, project: Project) -> None:
    code, _, err = call("run", "[red]none[/].yaml")
    assert (code, err.splitlines()[0]) == (2, "error: [red]none[/].yaml: cannot be read: No such file or directory")


def test_mistake_of_ours_is_one_message_too(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "run", lambda *args, **kwargs: {}["gone"])
    code, _, err = call("run", "chain.yaml")
    assert (code, err.splitlines()[0]) == (1, "error: KeyError: 'gone'")
    assert "Traceback" not in err
    assert "Traceback" in call("run", "chain.yaml", "--debug")[2]


def test_run_folder_that_cannot_be_made_is_one_message(call: Call, project: Project) -> None:
    Path("runs").write_text("a file in the way", "utf-8")
    code, _, err = call("run", "chain.yaml")
    assert (code, err.count("error:")) == (2, 1)
    assert "is a file" in err and "\n  -> " in err


@pytest.mark.parametrize(
    ("name", "known", "remedy"),
    [
        ("learning_rat", ["learning_rate", "beta"], "did you mean 'learning_rate'?"),
        ("x", ["b", "a"], "known: a, b"),
        ("x", [], "there are none"),
    ],
)
def test_nearest_name_is_offered(name: str, known: list[str], remedy: str) -> None:
    assert nearest(name, known) == remedy


FOREIGN = """\
name: foreign
model: {model_name_or_path: base-model, trust_remote_code: true}
data: {rows: {path: rows.jsonl}}
stages:
  sft: {data: rows}
  toys: {kind: toy, data: rows}
  ppo:
    policy: sft
    reward: []
    data: rows
    reward_functions: {brief: {function: "rewards:brief"}, valid: {function: valid_json}}
"""


def test_plan_lists_the_code_from_outside_that_a_recipe_runs_and_runs_none(project: Project) -> None:
    (project.root / "rewards.py").write_text("open('canary', 'w')\n", "utf-8")
    project.write(FOREIGN, "foreign.yaml")
    said = project.command("plan", "foreign.yaml").stdout.splitlines()
    start = said.index("code from outside posttune that this recipe runs:")
    assert [line.strip() for line in said[start + 1 :]] == [
        "toys: the kind toy of the package toy",
        "ppo: rewards:brief (reward_functions.brief)",
        "every stage: the code of base-model (model.trust_remote_code)",
    ]
    assert not (project.root / "canary").exists()


def test_plan_says_nothing_of_foreign_code_where_there_is_none(project: Project) -> None:
    project.write(FOREIGN.replace(", trust_remote_code: true", ""), "foreign.yaml")
    assert "code from outside" not in project.command("plan", "foreign.yaml", "sft").stdout


def test_ctrl_c_outside_of_a_stage_is_no_success(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.runner.run", interrupted)
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "chain.yaml"])
    assert caught.value.code == 130
    assert capsys.readouterr().err == "error: interrupted\n  -> run the same command again to go on\n"
