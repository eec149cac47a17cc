"""Fixtures shared by all tests: the toy stage kinds, a project to run them in, and a tiny model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toy_project
from toy_project import CHATML, KINDS, Project

TESTS = Path(__file__).parent

if not os.environ.get("POSTTUNE_TEST_GPU"):  # most tests look at tensors where a CPU leaves them
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, is an installed distribution with the toy kinds."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "toy").symlink_to(TESTS / "toy")
    info = folder / "posttune_toy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: posttune-toy\nVersion: 1.0\n", "utf-8")
    lines = [f"{kind} = {package}" for kind, package in KINDS.items()]
    (info / "entry_points.txt").write_text("\n".join(["[posttune.stages]", *lines, ""]), "utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path, plugins: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """An empty project with the recipe chain.yaml: sft -> rm -> ppo of toy kinds. Tests run in it."""
    made = toy_project.make(tmp_path / "project", plugins)
    monkeypatch.chdir(made.root)
    monkeypatch.syspath_prepend(str(plugins))
    return made


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level BPE tokenizer of 384 tokens and the ChatML template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny") / "model"
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=384, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    lines = ["system user assistant", "Where is my order? It is on its way, thank you.", '{"category": "order"}']
    tokenizer.train_from_iterator(lines * 4, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token="<|pad|>")
    fast.chat_template = CHATML
    fast.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Path) -> Path:
    """The same folder with a Llama of two layers and about 50,000 random weights beside the tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=384, hidden_size=40, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0, bos_token_id=None,
        eos_token_id=2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tiny_tokenizer)
    return tiny_tokenizer
