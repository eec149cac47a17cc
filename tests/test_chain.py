"""The whole chain on the tiny model, through the command line, as a user runs it."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path

import pytest
from toy_project import Project

from pipeline.report.text import NOTHING

RECIPE = """\
name: whole
seed: 3
model: {{model_name_or_path: {model}, lora: {{r: 2, alpha: 4}}}}
data:
  rows: {{path: rows.jsonl}}
  ranked: {{path: ranked.jsonl}}
stages:
  sft: {{data: rows, max_steps: 2, eval_prompts: 2, max_new_tokens: 8}}
  rm: {{policy: sft, data: ranked, max_steps: 2, normalize_prompts: 2, max_new_tokens: 8}}
  ppo: {{policy: sft, data: rows, total_episodes: 8, rollout_batch_size: 4, max_new_tokens: 8, eval_prompts: 2,
    logging_steps: 1}}
  dpo: {{policy: sft, data: ranked, max_steps: 1, eval_prompts: 2, max_new_tokens: 8}}
  evaluate: {{candidates: [base, sft, dpo, ppo], reference: sft, data: [rows, ranked], max_new_tokens: 8}}
"""
STAGES = ("sft", "rm", "ppo", "dpo", "evaluate")


@pytest.fixture(scope="module")
def done(plugins: Path, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the whole recipe has run once."""
    root = tmp_path_factory.mktemp("whole")
    project = Project(root, {**os.environ, "PYTHONPATH": str(plugins), "HOME": str(root), "OMP_NUM_THREADS": "1"})
    project.rows(30)
    ranked = [
        {
            "prompt": [{"role": "user", "content": f"ask {i}"}],
            "completions": ["good", "fair", "bad"],
            "ranks": [1, 2, 3],
        }
        for i in range(30)
    ]
    (project.root / "ranked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ranked), "utf-8")
    project.write(RECIPE.format(model=tiny_model), "whole.yaml")
    finished = project.command("run", "whole.yaml")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return project


def manifest(project: Project, stage: str) -> dict[str, object]:
    (folder,) = (project.root / "runs/whole" / stage).iterdir()
    return json.loads((folder / "manifest.json").read_text("utf-8"))  # type: ignore[no-any-return]


def test_chain_publishes_every_stage_with_figures(done: Project) -> None:
    figures = {stage: manifest(done, stage)["metrics"] for stage in STAGES}
    assert figures["rm"]["heldout/num_pairs"] > 0  # type: ignore[index]
    assert figures["ppo"]["heldout/kl"] >= 0  # type: ignore[index]
    assert {"base/length", "sft/KL_to_sft", "ppo/proxy_score"} <= set(figures["evaluate"])  # type: ignore[call-overload]


def test_chain_reports_the_answers_side_by_side(done: Project) -> None:
    page = (done.root / "runs/whole/report.html").read_text("utf-8")
    assert "Candidates on held-out prompts" in page and "Difference from sft" in page


def test_chain_leaves_a_whole_card_in_every_model_and_vouches_for_it(done: Project) -> None:
    digests = {stage: str(manifest(done, stage)["digest"]) for stage in STAGES}
    for stage, start in (("sft", "base"), ("rm", "sft"), ("ppo", "rm"), ("dpo", "sft")):
        (folder,) = (done.root / "runs/whole" / stage).iterdir()
        card = (folder / "output/README.md").read_bytes()
        entry = manifest(done, stage)["files"]["output/README.md"]  # type: ignore[index]
        assert entry == {"sha256": hashlib.sha256(card).hexdigest(), "size": len(card)}
        text = card.decode()
        assert f"| {start} | {NOTHING} | {f'`{digests[start]}`' if start in digests else NOTHING} |" in text
        assert "| 30 | `" in text and "## Held-out figures" in text and "save_steps" not in text


def test_chain_draws_reward_against_kl(done: Project) -> None:
    (folder,) = (done.root / "runs/whole/ppo").iterdir()
    report = json.loads((folder / "report.json").read_text("utf-8"))
    logged = [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    (plot,) = [found for found in report["fragments"] if found["type"] == "plot"]
    drawn = [(point["x"], point["y"]) for point in plot["points"]]
    assert len(drawn) == 2 and drawn == [(line["objective/kl"], line["objective/scores"]) for line in logged]


def test_chain_is_up_to_date_in_two_seconds_when_it_runs_again(done: Project) -> None:
    start = time.monotonic()
    again = done.command("run", "whole.yaml")
    assert again.stdout.count("up to date") == len(STAGES)
    assert time.monotonic() - start < 2


def test_chain_runs_only_ppo_and_what_follows_when_a_value_of_ppo_changes(done: Project) -> None:
    lines = done.command("plan", "whole.yaml", "--set", "ppo.kl_coef=0.2").stdout.splitlines()
    does = {line.split()[0]: line.split()[1] for line in lines if line.split()[0] in STAGES}
    assert does == {"sft": "skip", "rm": "skip", "ppo": "run", "dpo": "skip", "evaluate": "run"}


def test_policy_loads_without_posttune(done: Project, tiny_model: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    (folder,) = (done.root / "runs/whole/ppo").iterdir()
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny_model), str(folder / "output"))
    tokenizer = AutoTokenizer.from_pretrained(folder / "output")
    assert model(**tokenizer("a", return_tensors="pt")).logits.isfinite().all()
