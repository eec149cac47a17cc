"""Domain adaptation through the command line, as a user runs it: texts and conversations in one recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_project import Project

RECIPE = """\
name: domain
model: {{model_name_or_path: {model}, lora: {{r: 2, alpha: 4}}}}
data:
  guide: {{path: "guide/*.md"}}
  rows: {{path: rows.jsonl}}
stages:
  audit: {{data: guide}}
  sft: {{data: [guide, rows], max_steps: 2, max_length: 32, eval_prompts: 2, max_new_tokens: 8}}
  dpo: {{policy: sft, data: guide}}
"""


@pytest.fixture
def domain(project: Project, tiny_model: Path) -> Project:
    (project.root / "guide").mkdir()
    for number in range(20):
        (project.root / f"guide/{number:02}.md").write_text(f"# Part {number}\n\n" + f"Say {number} things. " * 5)
    project.rows(20)
    project.write(RECIPE.format(model=tiny_model), "domain.yaml")
    return project


def test_sft_is_run_on_texts_and_conversations(domain: Project) -> None:
    done = domain.command("run", "domain.yaml", "sft")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "  perplexity on texts: " in done.stdout
    assert "perplexity on texts" in (domain.root / "runs/domain/report.html").read_text("utf-8")


def test_texts_are_previewed_and_audited_as_sft_reads_them(domain: Project) -> None:
    shown = domain.command("preview", "domain.yaml", "sft", "--rows", "1")
    assert shown.returncode == 0, shown.stderr
    assert "text, 1 of " in shown.stdout
    audited = domain.command("audit", "domain.yaml")
    told = audited.stdout + audited.stderr
    assert "too_long" not in told
    assert "comparison records are needed" in told and "instruction" not in told  # of dpo, not of sft


def test_text_is_refused_by_a_stage_that_compares_answers_before_anything_runs(domain: Project) -> None:
    refused = domain.command("run", "domain.yaml", "sft", "dpo")
    assert refused.returncode == 2
    assert "holds text records (format 'text'); comparison records are needed here" in refused.stderr
    assert not (domain.root / "runs/domain/sft").exists()
