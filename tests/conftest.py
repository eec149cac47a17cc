"""Fixtures shared by all tests: the toy stage kinds, a project to run them in, and a tiny model."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import toy_project
from tiny import write_tokenizer, write_weights
from toy_project import KINDS, Project

TESTS = Path(__file__).parent

if not os.environ.get("POSTTUNE_TEST_GPU"):  # most tests look at tensors where a CPU leaves them
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on the path, is an installed distribution with the toy kinds."""
    folder = tmp_path_factory.mktemp("plugins")
    (folder / "toy").symlink_to(TESTS / "toy")
    for package in ("pipeline", "stages"):  # a second checkout tests itself, and not the one that is installed
        (folder / package).symlink_to(TESTS.parent / package)
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
    return write_tokenizer(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_model(tiny_tokenizer: Path) -> Path:
    """The same folder with a Llama of two layers and about 50,000 random weights beside the tokenizer."""
    return write_weights(tiny_tokenizer)
