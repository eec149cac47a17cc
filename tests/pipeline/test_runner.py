"""Whole runs through the command line, with toy stages in real worker processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import children, is_alive
from toy_project import Project

from pipeline import cli, runner

SLOW = ("--set", "sft.pause=0.15", "--set", "sft.steps=8")
SAME = ("--set", "sft.steps=8")


def wait_for(path: Path, lines: int) -> None:
    """Until a stage has logged that many metrics."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        found = [p for p in path.parent.parent.glob(f"*/{path.name}") if p.read_text("utf-8").count("\n") >= lines]
        if found:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {path} within 20 s")


def start_sft(project: Project, lines: int = 3) -> subprocess.Popen[str]:
    """The engine with sft in the middle of its training."""
    process = project.start("run", "chain.yaml", "sft", *SLOW)
    wait_for(project.root / "runs" / "chain" / "sft" / "any" / "metrics.jsonl", lines)
    return process


def test_run_ends_with_0_and_the_next_is_up_to_date_within_two_seconds(project: Project) -> None:
    first = project.command("run", "chain.yaml")
    assert (first.returncode, first.stderr) == (0, "")
    assert (project.root / "runs/chain/report.html").is_file()
    start = time.monotonic()
    second = project.command("run", "chain.yaml")
    assert time.monotonic() - start < 2
    assert second.returncode == 0
    assert second.stdout.count("up to date") == 3


def test_finished_stage_has_the_files_of_the_design(project: Project) -> None:
    project.command("run", "chain.yaml", "sft")
    folder = project.stage_folder("sft")
    names = {path.name for path in folder.iterdir()} - {"lock"}
    assert names == {"config.yaml", "inputs.json", "state.json", "metrics.jsonl", "log.txt", "checkpoints", "output",
                     "report.json", "manifest.json"}  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["files"].keys() == {"output/weights.json"}
    assert {"fingerprint", "digest", "seconds", "peak_memory_mb", "versions", "seed"} <= manifest.keys()
    assert str(project.root) not in json.dumps(manifest)


def test_what_libraries_print_goes_to_the_log(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft")
    assert "a library prints this" not in result.stdout + result.stderr
    assert "a library prints this" in (project.stage_folder("sft") / "log.txt").read_text("utf-8")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_signal_checkpoints_and_the_next_run_goes_on_to_the_same_weights(project: Project, number: int) -> None:
    process = start_sft(project)
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert re.fullmatch(r"error: sft: stopped; a checkpoint is written\n  -> .*\n", err)
    assert project.command("plan", "chain.yaml", "sft", *SAME).stdout.count("resume") == 1
    assert project.command("run", "chain.yaml", "sft", *SAME).returncode == 0
    assert [entry["step"] for entry in project.metrics("sft")] == list(range(1, 9))
    resumed = (project.stage_folder("sft") / "output" / "weights.json").read_text("utf-8")
    project.command("run", "chain.yaml", "sft", *SAME, "--runs", "others")
    (whole,) = (project.root / "others/chain/sft").iterdir()
    assert (whole / "output" / "weights.json").read_text("utf-8") == resumed


def test_signal_is_answered_when_the_worker_has_only_just_started(project: Project) -> None:
    process = project.start("run", "chain.yaml", "sft", *SLOW)
    end = time.monotonic() + 20
    while not list(project.root.glob("runs/chain/sft/*/job.json")) and time.monotonic() < end:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in out + err


def test_second_ctrl_c_ends_at_once(project: Project) -> None:
    process = project.start("run", "chain.yaml", "sft", "--set", "sft.pause=30")
    wait_for(project.root / "runs" / "chain" / "sft" / "any" / "state.json", 0)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "stopped at once" in err


def test_killed_engine_takes_its_worker_along_and_the_next_run_goes_on(project: Project) -> None:
    process = start_sft(project)
    (worker,) = children(process.pid)
    process.kill()
    process.communicate()
    end = time.monotonic() + 5
    while is_alive(worker) and time.monotonic() < end:
        time.sleep(0.02)
    assert not is_alive(worker)
    result = project.command("run", "chain.yaml", "sft", *SAME)
    assert result.returncode == 0
    assert "going on from step" in result.stdout
    assert [entry["step"] for entry in project.metrics("sft")] == list(range(1, 9))


def test_second_engine_is_refused_with_the_first_ones_pid(project: Project) -> None:
    first = start_sft(project, lines=1)
    second = project.command("run", "chain.yaml", "sft", *SLOW)
    assert second.returncode == 2
    assert f"process {first.pid} is already running this stage" in second.stderr
    first.communicate(timeout=20)
    assert first.returncode == 0


def test_worker_killed_for_memory_ends_with_1_and_says_so(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft", "--set", "sft.fail=memory", "--set", "sft.fail_at=4")
    assert result.returncode == 1
    assert "ran out of memory" in result.stderr
    assert "going on from step 2" in project.command("run", "chain.yaml", "sft").stdout


def test_wrong_input_found_by_a_stage_ends_with_2_and_leaves_only_its_log(project: Project) -> None:
    result = project.command("run", "chain.yaml", "--set", "sft.fail=user")
    assert result.returncode == 2
    assert result.stderr == ("error: rows.jsonl:row 3: messages: row 3 has no answer; one is needed\n  -> write one\n")
    assert [path.name for path in project.root.glob("runs/**/*") if path.is_file()] == ["log.txt"]


def test_wrong_input_leaves_the_stages_earlier_artifact_current(project: Project) -> None:
    project.command("run", "chain.yaml", "sft")
    (before,) = project.root.glob("runs/chain/sft/*")
    assert project.command("run", "chain.yaml", "sft", *SAME, "--set", "sft.fail=user").returncode == 2
    assert str(before.relative_to(project.root)) in project.command("status", "chain.yaml").stdout
    assert "up to date" in project.command("plan", "chain.yaml", "sft").stdout


def test_bug_in_a_stage_ends_with_1_and_its_traceback_is_in_the_log(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft", "--set", "sft.fail=bug")
    assert result.returncode == 1
    assert "Traceback" not in result.stdout + result.stderr
    log = project.stage_folder("sft") / "log.txt"
    assert result.stderr == (
        "error: sft: RuntimeError: tensors do not fit\n"
        f"  -> the whole traceback is in {log.relative_to(project.root)}\n"
    )
    assert "Traceback" in log.read_text("utf-8")


def test_debug_shows_the_traceback_and_what_libraries_print(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft", "--debug", "--set", "sft.fail=bug")
    assert result.returncode == 1
    assert "in _fail" in result.stderr
    assert "a library prints this" in project.command("run", "chain.yaml", "sft", "--debug").stdout


def test_stage_that_ends_its_process_is_a_failed_stage(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft", "--set", "sft.fail=status")
    assert result.returncode == 1
    assert "error: sft: SystemExit: 7" in result.stderr


def test_earlier_stages_are_kept_when_a_later_one_fails(project: Project) -> None:
    assert project.command("run", "chain.yaml", "--set", "rm.fail=bug").returncode == 1
    result = project.command("run", "chain.yaml")
    assert result.returncode == 0
    assert result.stdout.startswith("sft: up to date")


def test_run_goes_on_when_the_report_cannot_be_written(project: Project) -> None:
    (project.root / "runs/chain/report.html").mkdir(parents=True)
    result = project.command("run", "chain.yaml", "sft", "--force", "sft")
    assert result.returncode == 0
    assert "the report could not be written" in result.stdout


def test_report_is_written_anew_when_the_engine_was_killed_before_it(project: Project) -> None:
    project.command("run", "chain.yaml", "sft")
    report = project.root / "runs/chain/report.html"
    report.write_text("of the attempt before", "utf-8")
    os.utime(report, (0, 0))
    assert "up to date" in project.command("run", "chain.yaml", "sft").stdout
    assert "of the attempt before" not in report.read_text("utf-8")


def test_progress_is_plain_lines_and_no_escape_codes_when_not_on_a_terminal(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft", "--set", "sft.steps=3")
    assert "\x1b" not in result.stdout + result.stderr


def test_stage_whose_checkpoints_will_not_fit_is_refused_before_it_starts(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner.shutil, "disk_usage", lambda folder: SimpleNamespace(free=500))  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as caught:
        cli.main(["run", "chain.yaml", "sft"])
    assert caught.value.code == 1
    told = capsys.readouterr().err
    assert re.match(r"error: sft: \S+: it will write up to 0.0 MB here, and 0.0 are free\n  -> .*posttune gc", told)
    assert not list(project.root.glob("runs/chain/sft/*/job.json"))


def test_disk_that_filled_up_is_told_as_such(project: Project) -> None:
    result = project.command("run", "chain.yaml", "sft", "--set", "sft.fail=disk")
    assert result.returncode == 1
    assert "No space left on device" in result.stderr and "the last checkpoint is intact" in result.stderr
