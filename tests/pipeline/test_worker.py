"""The worker process: its job, its streams, and what it tells of an error."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import launch
from pipeline.errors import DataError, Interrupted
from pipeline.recipe import LaunchConfig
from pipeline.terminal import Terminal
from pipeline.worker import Job, _describe, run


class Never:
    """A stop flag that nobody sets."""

    def is_set(self) -> bool:
        return False


def job(folder: Path, **changed: object) -> Job:
    given = {
        "stage": "sft",
        "kind": "toy",
        "folder": str(folder),
        "config": {"data": "rows", "policy": "base", "steps": 2},
        "model": {"model_name_or_path": "m"},
        "seed": 1,
        "inputs": {"policy": []},
        "data": {"data": []},
        "wandb": None,
        "debug": False,
        "allow_drift": False,
    }
    return Job(**{**given, **changed})  # type: ignore[arg-type]


def attempt(folder: Path, **changed: object) -> tuple[int, dict[str, object]]:
    (folder / "output.tmp").mkdir()
    code = run(job(folder, **changed), Terminal(io.StringIO(), "sft"), Never())  # type: ignore[arg-type]
    told = folder / ("error.json" if code else "result.json")
    return code, json.loads(told.read_text("utf-8"))


@pytest.mark.usefixtures("project")
def test_result_is_left_in_the_run_folder(tmp_path: Path) -> None:
    code, result = attempt(tmp_path)
    assert code == 0
    assert result["record"]["metrics"] == {"loss": 0.5}  # type: ignore[index]
    assert result["report"] == {
        "fragments": [
            {
                "type": "table",
                "title": "Toy figures",
                "columns": ["figure", "value"],
                "rows": [["loss", 0.5]],
                "note": "",
            }
        ]
    }
    assert result["record"]["peak_memory_mb"] > 5  # type: ignore[index]


@pytest.mark.usefixtures("project")
def test_error_of_a_stage_is_left_in_the_run_folder(tmp_path: Path) -> None:
    code, told = attempt(tmp_path, config={"data": "rows", "fail": "user"})
    assert (code, told["code"], told["where"], told["remedy"]) == (2, 2, "rows.jsonl:row 3: messages", "write one")


@pytest.mark.usefixtures("project")
def test_kind_that_is_gone_is_told_as_an_error(tmp_path: Path) -> None:
    code, told = attempt(tmp_path, kind="no-such-kind")
    assert (code, told["problem"]) == (2, "there is no stage kind 'no-such-kind'")


@pytest.mark.parametrize(
    ("error", "code", "problem"),
    [
        (DataError("bad", where="a:1", remedy="mend"), 2, "bad"),
        (Interrupted("stopped"), 130, "stopped"),
        (MemoryError(), 1, "out of memory"),
        (KeyError("x\ny"), 1, "KeyError: 'x\\ny'"),
        (ValueError(), 1, "ValueError: no message"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_describe_says_code_and_one_line(error: BaseException, code: int, problem: str) -> None:
    told = _describe(error)
    assert (told["code"], told["problem"]) == (code, problem)


def test_one_process_is_started_without_a_launcher() -> None:
    assert launch.command(LaunchConfig(), Path("job.json")) == [sys.executable, "-m", "pipeline.worker", "job.json"]


def test_several_processes_are_started_by_torchs_launcher() -> None:
    words = " ".join(launch.command(LaunchConfig(num_processes=2), Path("job.json")))
    assert "pipeline.lifeline --standalone --nproc-per-node 2" in words
    assert words.endswith("-m pipeline.worker job.json")


def test_signals_are_as_before_after_a_worker_has_ended(tmp_path: Path) -> None:
    before = (signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    (tmp_path / "job.json").write_text("{}", "utf-8")
    with (tmp_path / "lock").open("w") as lock:
        assert launch.run_worker(LaunchConfig(), tmp_path / "job.json", lock.fileno()).status == 1
    assert (signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, ())) == before


def test_terminal_shows_text_of_models_as_it_is() -> None:
    stream = io.StringIO()
    Terminal(stream, "sft").say("[bold]not markup[/bold] \\[x] :smile:")
    assert stream.getvalue() == "[sft] [bold]not markup[/bold] \\[x] :smile:\n"


class Screen(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_bar_names_the_stage_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Screen()
    with Terminal(stream, "sft").progress("training", 10) as advance:
        advance(4)
    assert "[sft] training" in stream.getvalue()
    assert "4/10" in stream.getvalue()


def test_terminal_does_not_break_long_lines() -> None:
    stream = io.StringIO()
    Terminal(stream).say("word " * 100 + "end")
    assert stream.getvalue().count("\n") == 1


def test_progress_says_a_plain_line_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.terminal.PLAIN_SECONDS", 0.0)
    stream = io.StringIO()
    with Terminal(stream, "sft").progress("training", 10) as advance:
        advance(4)
    assert stream.getvalue().startswith("[sft] training 4/10, ")
    assert "s left" in stream.getvalue()


def test_stage_works_without_the_engine(tmp_path: Path) -> None:
    code = """
import sys
from pipeline.contract import Context
context = Context.local("out", model="m", policy="base", data="r.jsonl")
print(context.artifact("policy").name, context.data["data"][0].config.path, "pipeline.runner" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (result.stdout, result.stderr) == ("base r.jsonl False\n", "")
