"""Whether an exported model earns the figures that `evaluate` gave its policy: asked by plain transformers.

.venv/bin/posttune export recipes/quickstart.yaml dpo --to my-model
.venv/bin/python bench/exported.py ANSWERS.jsonl dpo my-model --task recipes/quickstart.yaml:helpdesk

The answers are those of runs/quickstart/evaluate/<fingerprint>/output/answers.jsonl.

`evaluate` computes as the run does, often with bfloat16 products and the LoRA beside the weights; an export is read in
float32 with the LoRA merged. So single answers differ, and the question is by how much the figures do.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.recipe import load_recipe
from stages.evaluate.checks.task import check_answer
from stages.objectives.comparisons import difference


def main() -> int:
    """Ask, check, and print each figure of the policy, of the export, and their difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("answers", type=Path)
    parser.add_argument("candidate")
    parser.add_argument("model", type=Path)
    parser.add_argument("--task", required=True, help="RECIPE:TASK, whose checks are applied")
    parser.add_argument("--max-new-tokens", type=int, default=128)
    options = parser.parse_args()
    recipe, _, name = options.task.rpartition(":")
    task = load_recipe(Path(recipe)).tasks[name]
    rows = [json.loads(line) for line in options.answers.read_text("utf-8").splitlines()]
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    texts = [_answer(model, tokenizer, row["prompt"], options.max_new_tokens) for row in rows]
    theirs = [row["answers"][options.candidate] for row in rows]
    same = sum(text == their["text"] for text, their in zip(texts, theirs, strict=True))
    print(f"{same} of {len(rows)} answers are the same")
    found = [check_answer(text, row["reference"], task) for text, row in zip(texts, rows, strict=True)]
    for figure in dict.fromkeys(figure for one in found for figure in one):
        pairs = [(one[figure], t["figures"][figure]) for one, t in zip(found, theirs, strict=True) if figure in one]
        ours, before = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        mean, low, high = difference(ours, before)
        less = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
        print(f"{figure}: policy {fmean(before):.3f}, export {fmean(ours):.3f}, the difference {less}")
    return 0


@torch.no_grad()
def _answer(model: Any, tokenizer: Any, messages: list[dict[str, str]], max_new_tokens: int) -> str:
    given = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    whole = model.generate(**given, do_sample=False, max_new_tokens=max_new_tokens)
    return str(tokenizer.decode(whole[0, given["input_ids"].shape[1] :], skip_special_tokens=True))


if __name__ == "__main__":
    sys.exit(main())
