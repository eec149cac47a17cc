"""README.md of a published model: front matter that the Hub reads, and a program that loads what it describes."""

from __future__ import annotations

import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from tiny_run import BASE, full_model

from pipeline.contract import Artifact, ModelConfig
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.modeling.locate import Location
from stages.modeling.publish import publish_policy
from stages.modeling.readme import readme
from stages.rollout.score import normalised_scores
from stages.rollout.sequences import Sequences

IDS = [[5, 6, 7, 8, 9]]


def front(text: str) -> dict[str, Any]:
    found = re.match(r"---\n(.*?)\n---\n", text, re.S)
    assert found
    return yaml.safe_load(found[1])  # type: ignore[no-any-return]


def load(folder: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the README's program in its folder, as its reader would; what it has made."""
    (program,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    monkeypatch.chdir(folder)
    made: dict[str, Any] = {"ids": torch.tensor(IDS)}
    with torch.no_grad():
        exec(program.replace("base = ...", f"base = {os.fspath(base)!r}"), made)
    return made


@torch.no_grad()
def logits(model: ModelConfig, folder: Path) -> torch.Tensor:
    backbone = open_backbone(model)
    backbone.load("policy", Artifact("policy", "policy", folder))
    with backbone.model("policy") as loaded:
        return loaded(input_ids=torch.tensor(IDS)).logits


@torch.no_grad()
def test_card_of_an_adapter_loads_it(
    model: ModelConfig, policies: list[Path], tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(policies[0], tiny_model, monkeypatch)
    assert torch.equal(made["model"](input_ids=made["ids"]).logits, logits(model, policies[0]))
    card = front((policies[0] / "README.md").read_text("utf-8"))
    assert card["library_name"] == "peft" and card["tags"] == ["posttune", "sft", "lora"]
    assert "base_model" not in card  # a folder is no base that the Hub knows


@torch.no_grad()
def test_card_of_whole_weights_loads_them(
    tiny_model: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = open_backbone(full_model(tiny_model))
    backbone.load("policy", BASE)
    publish_policy(backbone, "policy", chat, tmp_path, made_by="dpo")
    made = load(tmp_path, tiny_model, monkeypatch)
    assert torch.equal(made["model"](input_ids=made["ids"]).logits, logits(full_model(tiny_model), tmp_path))
    card = front((tmp_path / "README.md").read_text("utf-8"))
    assert card["library_name"] == "transformers" and card["pipeline_tag"] == "text-generation"


def test_card_of_a_reward_model_scores_as_the_stages_do(
    model: ModelConfig, reward: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load(reward, tiny_model, monkeypatch)
    backbone = open_backbone(model)
    backbone.load("reward", Artifact("rm", "reward", reward))
    head = ScalarHead.load(reward, backbone.hidden_size)
    expected = normalised_scores(backbone, "reward", head, Sequences([IDS[0][:3]], [IDS[0][3:]]))
    assert float(made["score"]) == pytest.approx(float(expected), abs=1e-4)
    assert front((reward / "README.md").read_text("utf-8"))["tags"][-1] == "reward-model"


def test_card_names_the_base_for_the_hub_when_it_is_a_hub_id(model: ModelConfig) -> None:
    hub = Location("org/small", None, "org/small")
    backbone: Any = SimpleNamespace(location=hub, config=model, dtype_name="float32")
    card = front(readme("policy", "sft", backbone))
    assert card["base_model"] == "org/small" and card["base_model_relation"] == "adapter"
    assert card["license"] == "unknown"
