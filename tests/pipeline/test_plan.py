"""Plans over a finished chain sft -> rm -> ppo of toy stages."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_project import Project

from pipeline import runner
from pipeline.errors import UserError
from pipeline.plan import plan
from pipeline.recipe import load_recipe
from pipeline.store import Store

UP_TO_DATE = {
    "sft": ("skip", "up to date: config and base, rows unchanged"),
    "rm": ("skip", "up to date: config and rows, sft unchanged"),
    "ppo": ("skip", "up to date: config and rm, rows, sft unchanged"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that needs it keeps the finished runs, for the others to copy."""
    return tmp_path_factory.mktemp("finished") / "runs"


@pytest.fixture
def done(project: Project, finished: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with every stage finished."""
    if not finished.exists():
        monkeypatch.setenv("PYTHONPATH", project.environment["PYTHONPATH"])
        runner.run(load_recipe("chain.yaml"), Path("runs"), (), say=lambda line: None)
        shutil.copytree("runs", finished)
    else:
        shutil.copytree(finished, "runs")
    return project


def planned(*overrides: str, wanted: tuple[str, ...] = (), force: tuple[str, ...] = ()) -> dict[str, tuple[str, str]]:
    recipe = load_recipe("chain.yaml", overrides)
    steps = plan(recipe, Store(Path("runs"), recipe), wanted, force)
    return {step.stage.name: (step.action, "; ".join(step.reasons)) for step in steps}


def test_nothing_has_run(project: Project) -> None:
    assert planned() == {"sft": ("run", "not run yet"), "rm": ("run", "sft will change"),
                         "ppo": ("run", "rm will change; sft will change")}  # fmt: skip
    assert not Path("runs").exists()


def test_everything_is_up_to_date(done: Project) -> None:
    assert planned() == UP_TO_DATE


def test_only_what_is_wanted_and_what_it_needs_is_planned(done: Project) -> None:
    assert list(planned(wanted=("rm",))) == ["sft", "rm"]


def test_only_ppo_runs_when_a_value_of_ppo_changes(done: Project) -> None:
    assert planned("ppo.kl_coef=0.1") == {**UP_TO_DATE, "ppo": ("run", "kl_coef 0.05 -> 0.1")}


def test_nothing_runs_when_only_saving_and_logging_change(done: Project) -> None:
    assert planned("ppo.save_steps=1", "sft.logging_steps=3", "tracking.wandb.mode=offline") == UP_TO_DATE


def test_downstream_waits_when_an_input_will_change(done: Project) -> None:
    steps = planned("rm.learning_rate=4e-4")
    assert steps["rm"] == ("run", "learning_rate 0.0002 -> 0.0004")
    assert steps["ppo"] == ("run", "rm will change")


def test_everything_runs_when_rows_change(done: Project) -> None:
    lines = Path("rows.jsonl").read_text("utf-8").splitlines(keepends=True)
    Path("rows.jsonl").write_text("".join(lines[:3]) + "".join(lines[:3]), "utf-8")
    assert planned()["sft"] == ("run", "rows changed: 3 in rows")


def test_stage_goes_on_from_its_last_checkpoint_when_a_file_of_its_output_is_gone(done: Project) -> None:
    (done.stage_folder("rm") / "output" / "weights.json").unlink()
    steps = planned()
    assert steps["sft"] == UP_TO_DATE["sft"]
    assert (steps["rm"][0], steps["ppo"]) == ("resume", ("run", "rm will change"))


def test_forced_stage_runs_and_its_name_is_checked(done: Project) -> None:
    assert planned(force=("sft",))["sft"] == ("run", "forced")
    with pytest.raises(UserError, match="no stage 'stf'"):
        planned(force=("stf",))


def test_downstream_stays_up_to_date_when_a_rerun_gives_equal_bits(
    done: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", done.environment["PYTHONPATH"])
    said: list[str] = []
    runner.run(load_recipe("chain.yaml"), Path("runs"), (), force=("sft",), say=said.append)
    assert said[0] == "sft: run (forced)"
    assert "ppo: up to date: config and rm, rows, sft unchanged" in said
    assert planned() == UP_TO_DATE


def test_stage_resumes_when_it_has_a_checkpoint(done: Project) -> None:
    folder = done.stage_folder("ppo")
    (folder / "manifest.json").unlink()
    assert planned()["ppo"] == ("resume", "stopped in the middle; a checkpoint is there")


def test_stage_runs_again_when_it_ended_before_its_first_checkpoint(done: Project) -> None:
    folder = done.stage_folder("ppo")
    (folder / "manifest.json").unlink()
    shutil.rmtree(folder / "checkpoints")
    assert planned()["ppo"] == ("run", "its last run did not finish")


def test_value_set_back_finds_the_earlier_artifact(done: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", done.environment["PYTHONPATH"])
    runner.run(load_recipe("chain.yaml", ["ppo.kl_coef=0.1"]), Path("runs"), (), say=lambda line: None)
    assert planned() == UP_TO_DATE


@pytest.mark.parametrize("path", sorted((Path(__file__).parents[2] / "recipes").rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipe_is_planned(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    steps = plan(recipe, Store(tmp_path, recipe))
    assert [step.stage.name for step in steps] == list(recipe.stages)
    assert {step.action for step in steps} == {"run"}
