"""Roles on one backbone: what switching adapters, training them and saving them must not break."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import BASE, full_model, lora_model, same_weights
from torch import Tensor
from transformers import AutoModelForCausalLM, Lfm2Config, Lfm2ForCausalLM, MistralConfig, MistralForCausalLM

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import ModelError
from stages.modeling.backbone import Backbone, SeparateBackbones, SharedBackbone, open_backbone
from stages.modeling.chat import Chat
from stages.modeling.publish import publish_policy
from stages.modeling.ragged import Group, Ragged
from stages.rollout.score import logprobs
from stages.rollout.sequences import Sequences

IDS = torch.tensor([[5, 6, 7, 8, 9]])
BATCH = Sequences([[5, 6], [7]], [[8, 9], [10, 11]])


@pytest.fixture(params=["lora", "full"])
def kind(request: pytest.FixtureRequest, tiny_model: Path) -> ModelConfig:
    return lora_model(tiny_model) if request.param == "lora" else full_model(tiny_model)


@torch.no_grad()
def logits(backbone: Backbone, role: str) -> Tensor:
    with backbone.model(role) as model:
        return model(input_ids=IDS).logits


def plain_logits(folder: Path | str) -> Tensor:
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float32).eval()(input_ids=IDS).logits


def loss_of(backbone: Backbone, role: str) -> Tensor:
    return logprobs(backbone, role, BATCH).sum()


def train_a_step(backbone: Backbone, role: str) -> None:
    optimizer = torch.optim.SGD(backbone.parameters(role).values(), lr=0.1)
    (-loss_of(backbone, role)).backward()
    optimizer.step()


def trained(backbone: Backbone, *roles: str) -> set[str]:
    """The roles all of whose weights, and none of the others', have requires_grad."""
    return {role for role in roles if all(p.requires_grad for p in backbone.parameters(role).values())}


def test_norms_of_a_loaded_model_are_fused(kind: ModelConfig) -> None:
    backbone = open_backbone(kind)
    backbone.load("policy", BASE, trainable=True)
    with backbone.model("policy") as model:
        norms = [type(module).__name__ for module in model.modules() if "RMSNorm" in type(module).__name__]
    assert norms and set(norms) == {"FusedLlamaRMSNorm"}


def test_whole_weights_learn_in_float32_while_they_multiply_in_bfloat16(tiny_model: Path) -> None:
    found = []
    for mixed in (False, True):
        backbone = open_backbone(full_model(tiny_model))
        backbone.mixed = mixed  # what `dtype: auto` gives where the hardware multiplies bfloat16
        backbone.load("policy", BASE, trainable=True)
        loss = loss_of(backbone, "policy")
        loss.backward()
        gradients = [p.grad for p in backbone.parameters("policy").values() if p.grad is not None]
        assert {gradient.dtype for gradient in gradients} == {torch.float32}
        found.append((loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])))
        assert ("products in bfloat16" in backbone.arithmetic) == mixed
    (loss, gradient), (mixed_loss, mixed_gradient) = found
    assert 0 < (mixed_loss - loss).abs() < 1e-2 * loss.abs()
    assert 0 < (mixed_gradient - gradient).norm() < 3e-2 * gradient.norm()


def test_base_role_equals_the_untouched_model_bitwise_when_other_adapters_exist(
    backbone: Backbone, tiny_model: Path, policies: list[Path]
) -> None:
    backbone.load("policy", Artifact("p", "policy", policies[0]), trainable=True)
    backbone.load("reference", BASE)
    assert not torch.equal(logits(backbone, "policy"), plain_logits(tiny_model))
    assert torch.equal(logits(backbone, "reference"), plain_logits(tiny_model))


def test_fresh_adapter_equals_the_base_bitwise(kind: ModelConfig, tiny_model: Path) -> None:
    backbone = open_backbone(kind)
    backbone.load("policy", BASE, trainable=True, seed=5)
    assert torch.equal(logits(backbone, "policy"), plain_logits(tiny_model))


def test_fresh_adapters_agree_when_their_seeds_do(model: ModelConfig) -> None:
    starts = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(starts))  # the global generator must not matter
        backbone = open_backbone(model)
        backbone.load("policy", BASE, trainable=True, seed=seed)
        starts.append(next(p for name, p in backbone.parameters("policy").items() if "lora_A" in name))
    assert torch.equal(starts[0], starts[1]) and not torch.equal(starts[0], starts[2])


def test_only_trained_roles_require_gradients_after_every_switch(backbone: Backbone, policies: list[Path]) -> None:
    first, second = (Artifact("p", "policy", folder) for folder in policies)
    backbone.load("policy", first, trainable=True)
    backbone.load("reference", first)
    backbone.load("reward", second)
    backbone.copy("value", "reward", trainable=True)
    backbone.load("base", BASE)
    for role in ("reference", "policy", "base", "reward", "value", "base", "policy"):
        logits(backbone, role)
        assert trained(backbone, "policy", "reference", "reward", "value") == {"policy", "value"}
        assert not any(p.requires_grad for p in backbone.parameters("reference").values())
        assert not any(p.requires_grad for p in backbone.parameters("reward").values())
    with backbone.model("policy") as model:
        learning = sum(p.requires_grad for p in model.parameters())
    assert learning == 2 * len(backbone.parameters("policy"))


def test_policy_and_value_both_get_gradients_when_one_is_forwarded_between(
    backbone: Backbone, policies: list[Path]
) -> None:
    backbone.load("policy", Artifact("p", "policy", policies[0]), trainable=True)
    backbone.copy("value", "policy", trainable=True)
    own = loss_of(backbone, "policy")  # forward one, forward the other, only then backward
    other = loss_of(backbone, "value")
    own.backward()
    other.backward()
    for role in ("policy", "value"):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters(role).values())


def test_copy_equals_its_source_and_then_trains_apart(kind: ModelConfig) -> None:
    backbone = open_backbone(kind)
    backbone.load("reward", BASE, trainable=True)
    train_a_step(backbone, "reward")
    backbone.copy("value", "reward", trainable=True)
    before = logits(backbone, "reward")
    assert torch.equal(logits(backbone, "value"), before)
    train_a_step(backbone, "value")
    assert torch.equal(logits(backbone, "reward"), before)
    assert not torch.equal(logits(backbone, "value"), before)


def test_copy_of_a_base_without_adapter_is_refused(backbone: Backbone) -> None:
    backbone.load("reward", BASE)
    with pytest.raises(ModelError, match="no adapter to copy"):
        backbone.copy("value", "reward")


def test_reference_stays_bit_for_bit_while_the_policy_learns(kind: ModelConfig) -> None:
    backbone = open_backbone(kind)
    backbone.load("policy", BASE, trainable=True)
    backbone.load("reference", BASE)
    before = logits(backbone, "reference")
    for _ in range(3):
        train_a_step(backbone, "policy")
    assert torch.equal(logits(backbone, "reference"), before)
    assert not torch.equal(logits(backbone, "policy"), before)


def test_published_policy_gives_the_same_logits_in_plain_peft(
    backbone: Backbone, chat: Chat, tiny_model: Path, tmp_path: Path
) -> None:
    from peft import PeftModel

    backbone.load("policy", BASE, trainable=True)
    train_a_step(backbone, "policy")
    publish_policy(backbone, "policy", chat, tmp_path, made_by="sft")
    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32), str(tmp_path)
    )
    with torch.no_grad():
        assert torch.equal(plain.eval()(input_ids=IDS).logits, logits(backbone, "policy"))


def test_published_policy_gives_the_same_logits_in_plain_transformers(
    tiny_model: Path, chat: Chat, tmp_path: Path
) -> None:
    backbone = open_backbone(full_model(tiny_model))
    backbone.load("policy", BASE, trainable=True)
    train_a_step(backbone, "policy")
    publish_policy(backbone, "policy", chat, tmp_path, made_by="sft")
    assert torch.equal(plain_logits(tmp_path), logits(backbone, "policy"))
    assert not list(tmp_path.glob("adapter*"))


def test_loaded_and_saved_again_is_the_same_file_content(kind: ModelConfig, chat: Chat, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    artifact = BASE
    for folder in folders:
        folder.mkdir()
        backbone = open_backbone(kind)
        backbone.load("policy", artifact, trainable=True)
        if artifact is BASE:
            train_a_step(backbone, "policy")
        publish_policy(backbone, "policy", chat, folder, made_by="sft")
        artifact = Artifact("one", "policy", folder)
    assert same_weights(*folders)


def test_published_note_names_the_base_and_the_tuning(policies: list[Path], tiny_model: Path) -> None:
    note = json.loads((policies[0] / "posttune.json").read_text())
    assert (note["base"], note["tuning"], note["role"]) == (str(tiny_model), "lora", "policy")
    config = json.loads((policies[0] / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)


def test_adapter_of_another_base_is_refused(backbone: Backbone, policies: list[Path], tmp_path: Path) -> None:
    note = {**json.loads((policies[0] / "posttune.json").read_text()), "base": "another/model"}
    (tmp_path / "posttune.json").write_text(json.dumps(note))
    with pytest.raises(ModelError, match="trained on another/model"):
        backbone.load("policy", Artifact("p", "policy", tmp_path))


def test_whole_weights_are_refused_when_the_recipe_asks_for_lora(backbone: Backbone, tmp_path: Path) -> None:
    (tmp_path / "posttune.json").write_text('{"tuning": "full"}')
    with pytest.raises(ModelError, match="whole weights"):
        backbone.load("policy", Artifact("p", "policy", tmp_path))


def test_adapter_is_refused_when_every_weight_is_trained(tiny_model: Path, policies: list[Path]) -> None:
    with pytest.raises(ModelError, match="is an adapter"):
        open_backbone(full_model(tiny_model)).load("policy", Artifact("p", "policy", policies[0]))


def test_backbone_fits_the_model_section(model: ModelConfig, tiny_model: Path) -> None:
    assert isinstance(open_backbone(model), SharedBackbone)
    assert isinstance(open_backbone(full_model(tiny_model)), SeparateBackbones)


def test_model_that_rescales_its_logits_is_refused_by_the_scorer(backbone: Backbone) -> None:
    backbone.load("policy", BASE)
    with backbone.model("policy") as plain:
        plain.config.final_logit_softcapping = 30.0
    with pytest.raises(ModelError, match="final_logit_softcapping"):
        backbone.lm_head("policy")


def test_architecture_with_soft_caps_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "model")
    file = tmp_path / "model/config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "attn_logit_softcapping": 50.0}))
    with pytest.raises(ModelError, match="soft caps"):
        open_backbone(lora_model(tmp_path / "model"))


@pytest.mark.parametrize("attention", [None, "sdpa"])
def test_architecture_whose_rows_see_each_other_is_refused(
    tiny_tokenizer: Path, tmp_path: Path, attention: Any
) -> None:
    """Lfm2 has short convolutions along the sequence beside its attention layers."""
    shape = {"vocab_size": 384, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "pad_token_id": 0,
             "num_attention_heads": 2, "num_key_value_heads": 1, "layer_types": ["conv", "full_attention"]}  # fmt: skip
    model = Lfm2ForCausalLM(Lfm2Config(**shape))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20)  # at random weights this small the convolution says almost nothing
    model.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="carry a state from token to token"):
        open_backbone(lora_model(tmp_path).model_copy(update={"attn_implementation": attention}))


def test_sliding_windows_hold_on_every_attention(tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = {"vocab_size": 384, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "pad_token_id": 0,
             "num_attention_heads": 2, "num_key_value_heads": 1, "sliding_window": 3}  # fmt: skip
    MistralForCausalLM(MistralConfig(**shape)).save_pretrained(tmp_path)
    rows, ids = Ragged([Group([5, 6], []), Group([7, 8, 9, 10, 11, 12], [])]), [7, 8, 9, 10, 11, 12]
    plain = AutoModelForCausalLM.from_pretrained(str(tmp_path), dtype=torch.float32)
    with torch.no_grad():
        expected = plain.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        for attention in (None, "sdpa", "eager"):
            backbone = open_backbone(lora_model(tmp_path).model_copy(update={"attn_implementation": attention}))
            backbone.load("policy", BASE)
            torch.testing.assert_close(backbone.hidden("policy", rows)[2:], expected, atol=1e-5, rtol=1e-4)


def test_lora_on_the_head_is_refused(tiny_model: Path) -> None:
    backbone = open_backbone(lora_model(tiny_model, target_modules=("q_proj", "lm_head")))
    with pytest.raises(ModelError, match="LoRA on the embeddings"):
        backbone.load("policy", BASE, trainable=True)


def test_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        open_backbone(ModelConfig(model_name_or_path=str(tmp_path)))


def test_backbone_is_freed_as_soon_as_it_is_let_go(model: ModelConfig) -> None:
    """On a GPU the next one would find no room until the garbage collector came by."""
    gc.disable()
    try:
        backbone = open_backbone(model)
        gone = weakref.ref(backbone)
        del backbone
        assert gone() is None
    finally:
        gc.enable()
