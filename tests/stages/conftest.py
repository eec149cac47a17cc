"""Published policies and a reward model of the tiny model, made by hand, and data of a few rows."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import BASE, full_model, lora_model, make_context, publish_scorer, shake, write_rows
from transformers import AutoModelForCausalLM

from pipeline.contract import ModelConfig
from stages import sft
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.publish import publish_policy


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """On models this small, threads waiting for each other cost many times the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def model(tiny_model: Path) -> ModelConfig:
    return lora_model(tiny_model)


@pytest.fixture(scope="session")
def chat(model: ModelConfig) -> Chat:
    return load_chat(model)


@pytest.fixture
def backbone(model: ModelConfig) -> Backbone:
    return open_backbone(model)


@pytest.fixture(scope="session")
def policies(model: ModelConfig, chat: Chat, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The folders of two different published policies."""
    folders = []
    for seed in (1, 2):
        backbone = open_backbone(model)
        backbone.load("policy", BASE, trainable=True, seed=seed)
        shake(backbone, "policy", seed)
        folders.append(tmp_path_factory.mktemp("policies") / f"policy-{seed}")
        folders[-1].mkdir()
        publish_policy(backbone, "policy", chat, folders[-1], made_by="sft")
    return folders


@pytest.fixture(scope="session")
def reward(model: ModelConfig, chat: Chat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_scorer(model, chat, tmp_path_factory.mktemp("rewards") / "rm")


@pytest.fixture(scope="session")
def loud(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """The tiny model with weights ten times as large: every token matters to the next, and an adapter can steer it."""
    folder = tmp_path_factory.mktemp("loud") / "model"
    shutil.copytree(tiny_model, folder)
    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.mul_(10)
    model.save_pretrained(str(folder))
    return lora_model(folder)


@pytest.fixture(scope="session")
def loud_reward(loud: ModelConfig, chat: Chat, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish_scorer(loud, chat, tmp_path_factory.mktemp("rewards") / "loud")


@pytest.fixture(scope="session")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Files of 12 conversations, 16 comparisons in which "good" always wins, and 12 prompts."""
    folder = tmp_path_factory.mktemp("rows")

    def ask(i: int) -> dict[str, Any]:
        return {"role": "user", "content": f"question {i}"}

    instructions = [{"messages": [ask(i), {"role": "assistant", "content": f"answer {i % 3}"}]} for i in range(12)]
    comparisons = [
        {
            "prompt": [ask(i)],
            "completions": [f"bad {i}", f"good {i}", f"bad {i + 1} too"] if i % 2 else [f"good {i}", f"bad {i}"],
            "ranks": [2, 1, 2] if i % 2 else [1, 2],
        }
        for i in range(16)
    ]
    return {
        "instructions": write_rows(folder / "instructions.jsonl", instructions),
        "comparisons": write_rows(folder / "comparisons.jsonl", comparisons),
        "prompts": write_rows(folder / "prompts.jsonl", [{"prompt": [ask(i)]} for i in range(12)]),
    }


@pytest.fixture(scope="session")
def talker(tiny_model: Path, rows: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> ModelConfig:
    """The tiny model once it has learnt, with all its weights, to give short answers that end."""
    folder = tmp_path_factory.mktemp("talker") / "sft"
    config = sft.Config(data="rows", max_steps=80, learning_rate=5e-3, per_device_train_batch_size=4, eval_prompts=0,
                        gradient_accumulation_steps=1)  # fmt: skip
    sft.run(config, make_context(folder, full_model(tiny_model), policy="base", data=rows["instructions"]))
    return lora_model(folder)
