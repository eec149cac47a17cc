"""A run folder with something in every part of the page, texts that attack it among them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from made_up_run import Folder, samples, table

from pipeline.manifest import digest

RECIPE = """\
name: tickets
description: Support tickets become a JSON object in a fixed schema, in the words of the brand.
seed: 17
model: {model_name_or_path: "package:small", lora: {r: 16}}
heldout_fraction: 0.2
data:
  instructions: {path: data/tickets.jsonl}
  answers: {from: collected}
  prompts: {path: data/prompts.jsonl}
stages:
  look: {kind: audit}
  sft: {}
  collected: {kind: collect}
  rm: {}
  ppo: {}
  evaluate: {}
"""
ATTACKS = (
    "<script>document.title = 'owned'</script>",
    '"><img src=https://example.org/x.png onerror="document.title=1">',
    "</pre></details><style>body{display:none}</style>",
    "right\u202eto left\u2066 and\u200b hidden",
    "w" * 400,
)
CANDIDATES = ("base", "base + prompt", "base + few_shot", "base + retrieval", "sft", "sft + prompt", "dpo", "ppo")
SENTENCES = (
    "ppo answers 88.1 % of 320 held-out prompts rightly, base + few_shot 71.9 %: better by 16.2 points "
    "(95 % interval 11.0 to 21.4).",
    "Between ppo and sft no winner can be named: the interval of their difference, -1.9 to 4.4 points, holds zero.",
    "1,000 calls of ppo cost 0.19, of base + few_shot 1.42; training had paid for itself after 41,000 calls.",
)
README = "# A model\n\n```python\nmodel = load()\n```\n"


def write(root: Path) -> Folder:
    """The whole run under `root`."""
    folder = Folder(root)
    (root / "recipe.yaml").write_text(RECIPE, "utf-8")
    _stage(folder, "look", "audit", [_findings()], data=["instructions"])
    _stage(folder, "sft", "sft", [_before_after("sft")], _losses("loss"), ["base"], ["instructions"], model="policy")
    _stage(folder, "collected", "collect", inputs=["sft"], data=["prompts"])
    _stage(folder, "rm", "rm", [_reliability()], _losses("loss"), ["sft"], ["answers"], model="reward")
    ppo = [_before_after("ppo"), _reward_against_kl()]
    _stage(folder, "ppo", "ppo", ppo, _losses("objective/scores"), ["sft", "rm"], ["prompts"], model="policy")
    evaluated = [_verdict(), _decided(), _comparison(), _cost(), _answers()]
    _stage(folder, "evaluate", "evaluate", evaluated, inputs=["base", "sft", "ppo"], data=["prompts"])
    index = json.loads((root / "index.json").read_text("utf-8"))
    (root / "index.json").write_text(json.dumps({**index, "recipe": "../../recipes/tickets.yaml"}), "utf-8")
    return folder


def _stage(
    folder: Folder,
    name: str,
    kind: str,
    fragments: Sequence[Any] = (),
    metrics: str = "",
    inputs: Sequence[str] = (),
    data: Sequence[str] = (),
    model: str = "",
) -> None:
    files = _files(kind, model)
    given = {one: folder.digests[one] for one in inputs if one in folder.digests}
    folder.digests[name] = digest({f"output/{path}": _entry(text) for path, text in files.items()})
    final = {"heldout/loss": 1.234, "heldout/kl": 3.5} if model else {}
    facts: dict[str, Any] = {
        "digest": folder.digests[name],
        "inputs": given,
        "files": {f"output/{path}": _entry(text) for path, text in files.items()},
    }
    facts |= {"device": "cpu", "seed": 17, "python": "3.12.3", "versions": {"torch": "2.11.0", "peft": "0.20.0"}}
    run = folder.finished(name, kind, fragments, metrics, final, **facts)
    sources = [{"name": one, "digest": one.encode().hex().ljust(64, "7")} for one in data]
    material = {
        "config": {"learning_rate": 2e-4, "num_train_epochs": 2, "max_steps": None},
        "seed": 17,
        "model": {"dtype": "bfloat16", "lora": {"r": 16, "alpha": 32.0}, "content": "small==1"},
        "inputs": {"policy": [given.get(one, one) for one in inputs]},
        "data": {"data": sources},
    }
    rows = {one: ["0" * 16] * 420 for one in data if one != "answers"}
    (run / "inputs.json").write_text(json.dumps({"material": material, "rows": rows, "inputs": given}), "utf-8")
    (run / "output").mkdir()
    for path, text in files.items():
        (run / "output" / path).write_text(text, "utf-8")


def _files(kind: str, model: str) -> dict[str, str]:
    """The output: of a model its note, its card and something for its weights."""
    if not model:
        return {"rows.jsonl": f"{kind}\n"}
    note = {"role": model, "made_by": kind, "base": "package:small==1", "tuning": "lora"}
    return {"posttune.json": json.dumps(note), "README.md": README, "adapter_model.safetensors": kind * 200_000}


def _entry(text: str) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size": len(text.encode())}


def _losses(name: str) -> str:
    lines = ({"step": n, name: 3 / n + 0.05 * math.sin(n), "objective/kl": n / 9, "lr": 1 / n} for n in range(1, 60))
    return "".join(json.dumps(line) + "\n" for line in lines)


def _verdict() -> dict[str, Any]:
    return {"type": "verdict", "title": "Label accuracy on held-out tickets", "sentences": list(SENTENCES)}


def _decided() -> dict[str, Any]:
    """The figure that decides: p-values, intervals, and a column of words that are more than a phone shows."""
    words = "cannot be told apart from base: there is no difference to look for; not compared with base + few_shot"
    rows = [
        [name, "0.167 [0.106, 0.233]", "0.0833 [-0.0301, 0.0301]", "0.0014", "-0.144 [-0.556, -0.228]", "0.0008", words]
        for name in CANDIDATES
    ]
    columns = ["candidate", "label_accuracy", "less base", "its p", "less base + few_shot", "its p", "in words"]
    return table("Candidates on label_accuracy", columns, *rows)


def _comparison() -> dict[str, Any]:
    figures = ("label_accuracy/category", "valid_json", "proxy score", "second reward model's score")
    rows = [
        [name, *(f"{-0.3 - 0.07 * n - k / 50:.3f} [{-0.4 - 0.07 * n:.3f}, -0.0494]" for n in range(7))]
        for k, name in enumerate(figures)
    ]
    columns = ["figure", *CANDIDATES[:7]]
    return table("Candidates on held-out prompts", columns, *rows, note="320 prompts, greedy; 95% bootstrap intervals.")


def _cost() -> dict[str, Any]:
    costs = (0.11, 0.52, 1.42, 8.9, 0.19, 0.6, 0.19, 0.19)
    quality = (0.12, 0.41, 0.719, 0.52, 0.862, 0.865, 0.87, 0.881)
    points = [
        {"name": name, "x": x, "y": y, "low": y - 0.05, "high": y + 0.04}
        for name, x, y in zip(CANDIDATES, costs, quality, strict=True)
    ]
    return {
        "type": "plot",
        "title": "Quality against cost",
        "x_label": "price of 1,000 calls",
        "y_label": "label accuracy",
        "points": points,
        "note": "Left and up is better.",
    }


def _reliability() -> dict[str, Any]:
    points = [
        {"name": f"{n / 10:g}", "x": n / 10 + 0.05, "y": min(1, n / 9), "low": n / 12, "high": min(1, n / 7)}
        for n in range(5, 10)
    ]
    return {
        "type": "plot",
        "title": "Reliability",
        "x_label": "foretold probability",
        "y_label": "share that was right",
        "points": points,
        "joined": True,
        "diagonal": True,
    }


def _reward_against_kl() -> dict[str, Any]:
    points = [{"name": f"iteration {n}", "x": n**1.2 / 8, "y": 2 - 2 / n} for n in range(1, 33)]
    return {
        "type": "plot",
        "title": "Proxy score against KL",
        "x_label": "KL to the reference (nats an answer)",
        "y_label": "proxy score",
        "points": points,
        "joined": True,
    }


def _before_after(stage: str) -> dict[str, Any]:
    return table(f"Held-out, before and after {stage}", ["figure", "before", "after"], ["loss", 2.94, 1.59])


def _findings() -> dict[str, Any]:
    rows = [
        ["error", "leak", "instructions", 3, "row 17", ATTACKS[0]],
        ["warning", "copy", "instructions", 12, "", "x"],
    ]
    return table("Findings", ["severity", "check", "source", "count", "first at", "what"], *rows)


def _answers() -> dict[str, Any]:
    """Ten prompts: in the even ones the answers differ; of the first three the figure that decides, too."""
    rows = []
    for n in range(10):
        first = json.dumps({"category": "billing", "urgency": "high", "reply": f"We look into it, number {n}."})
        second = first.replace("high", "low") if n % 2 == 0 else first
        attack = ATTACKS[n % len(ATTACKS)]
        rows.append(
            {
                "prompt": f"system: You sort tickets.\nuser: My invoice {n} is wrong. {attack}",
                "answers": [first, second, first],
                "figures": {"label_accuracy": [0.5, 1.5 if n < 3 else 0.5, 0.5], "proxy score": [n, n + 1, n + 2]},
                "reference": json.dumps({"category": "billing"}),
            }
        )
    return samples(*rows, candidates=["base + few_shot", "sft", "ppo"])
