"""Keys, tokens and the home folder's path reach no file of a run folder, whatever a stage's code prints."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from toy_project import Project

from pipeline import redaction

SECRETS = {
    "HF_TOKEN": "hf_AbCdEfGhIjKlMnOpQrStUvWxYz",
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdef01234567",
    "MY_PASSWORD": "correct horse battery",
}
NOISY = """\
import os, sys, warnings

def judge(prompts, completions, references):
    print(dict(os.environ), __file__)
    print(dict(os.environ), file=sys.stderr)
    warnings.warn(os.environ["HF_TOKEN"])
    return [1.0] * len(completions)

def fails(prompts, completions, references):
    raise RuntimeError(os.environ["HF_TOKEN"] + " at " + __file__)
"""
RECIPE = """\
name: whole
model: {{model_name_or_path: {home}/models/tiny, lora: {{r: 2, alpha: 4}}}}
tracking: {{wandb: {{mode: offline}}}}
data: {{rows: {{path: {home}/desk/rows.jsonl}}}}
stages:
  sft: {{data: rows, max_steps: 1, eval_prompts: 2, max_new_tokens: 4}}
  ppo: {{policy: sft, data: rows, reward: [], reward_functions: {{noisy: {{function: "noisy:judge"}}}},
    total_episodes: 4, rollout_batch_size: 4, max_new_tokens: 4, eval_prompts: 2}}
  broken: {{kind: rloo, policy: sft, data: rows, reward: [], reward_functions: {{noisy: {{function: "noisy:fails"}}}},
    total_episodes: 4, rollout_batch_size: 4, max_new_tokens: 4, eval_prompts: 2}}
"""


@pytest.fixture(scope="module")
def ran(plugins: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run of two stages that end and one that fails, all of it in a home folder, with secrets in the environment."""
    home = tmp_path_factory.mktemp("home") / "alice"
    shutil.copytree(tiny_model, home / "models/tiny")
    (home / "desk").mkdir()
    (home / "desk/noisy.py").write_text(NOISY, "utf-8")
    keep = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    given = {**keep, **SECRETS, "HOME": str(home), "PYTHONPATH": str(plugins), "OMP_NUM_THREADS": "1"}
    project = Project(home / "desk", given)
    project.rows(30)
    project.write(RECIPE.format(home=home), "whole.yaml")
    assert project.command("run", "whole.yaml", "ppo").returncode == 0
    assert project.command("run", "whole.yaml", "broken").returncode == 1
    return project


def test_no_file_of_a_run_folder_holds_a_secret_or_the_home_path(ran: Project) -> None:
    files = {path: path.read_bytes() for path in ran.root.glob("runs/**/*") if path.is_file()}
    assert [path for path in files if path.suffix == ".wandb"], "W&B's own files are among them"
    forbidden = [*SECRETS.values(), str(ran.root.parent)]
    found = [(str(path), text) for path, held in files.items() for text in forbidden if text.encode() in held]
    assert found == []


def test_what_was_printed_is_in_the_log_but_for_the_secrets(ran: Project) -> None:
    log = (ran.stage_folder("ppo", "whole") / "log.txt").read_text("utf-8")
    assert "[HF_TOKEN]" in log
    assert "[MY_PASSWORD]" in log
    assert "~/desk/noisy.py" in log
    assert "[HF_TOKEN] at ~/desk/noisy.py" in (ran.root / "runs/whole/report.html").read_text("utf-8")


def test_paths_under_home_are_found_again_when_the_recipe_that_was_kept_is_run(ran: Project) -> None:
    assert "model_name_or_path: ~/models/tiny" in (ran.root / "runs/whole/recipe.yaml").read_text("utf-8")
    base = json.loads((ran.stage_folder("sft", "whole") / "output/posttune.json").read_text("utf-8"))["base"]
    assert base == "~/models/tiny"
    shutil.copy(ran.root / "runs/whole/recipe.yaml", ran.root / "again.yaml")
    planned = ran.command("plan", "again.yaml", "ppo", "--set", "name=again")
    assert planned.returncode == 0
    assert "the model's config is not on this machine" not in planned.stdout


def test_hide_home_leaves_other_folders_of_that_name_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/ann")
    assert redaction.hide_home("file:///ann/x /ann, /anned /data/ann/x") == "file://~/x ~, /anned /data/ann/x"
    monkeypatch.setenv("HOME", "/")
    assert redaction.hide_home("/a/b") == "/a/b"


def test_relative_does_not_spell_out_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    assert redaction.relative(tmp_path / "alice/r.yaml", tmp_path / "alice/runs/r") == "../../r.yaml"
    assert redaction.relative(tmp_path / "alice/r.yaml", tmp_path / "data/runs") in ("../../alice/r.yaml", "~/r.yaml")
    assert redaction.relative(tmp_path / "alice/r.yaml", Path("/srv/runs")) == "~/r.yaml"


def test_clean_takes_the_hubs_token_file_for_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("hf_fromthefile\n", "utf-8")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_TOKEN_PATH", raising=False)
    assert redaction.clean("Bearer hf_fromthefile") == "Bearer [HF_TOKEN]"


def test_cleaning_a_json_file_leaves_numbers_and_keys_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "12345678")
    file = tmp_path / "result.json"
    file.write_text(json.dumps({"12345678": [0.123456789, 12345678, "by 12345678.", "a123456789"]}), "utf-8")
    redaction.clean_file(file)
    kept = {"12345678": [0.123456789, 12345678, "by [POSTGRES_PASSWORD].", "a123456789"]}
    assert json.loads(file.read_text("utf-8")) == kept
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]
