"""Writing a stage's output folder: weights, tokenizer, a note for other stages and one for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contract import Role
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.modeling.readme import readme


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
    (folder / "README.md").write_text(readme(kind, notes["made_by"], backbone), "utf-8")
