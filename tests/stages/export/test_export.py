"""`posttune export`: the export answers as the artifact does, by plain transformers; and what it refuses."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tiny_run import BASE, full_model, lora_model, shake, write_rows
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipeline.contract import Artifact, DataSource, ModelConfig, Source
from pipeline.errors import ModelError, StageFailed, UserError
from stages.export import agreement, converter, weights
from stages.export.agreement import Agreement
from stages.export.export import Order, export
from stages.formats.load import load
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import Chat
from stages.modeling.publish import publish_policy
from stages.rollout.generate import generate

ASKED = [[{"role": "user", "content": text}] for text in ("Where is my order?", "a", "thank you", "{}")]


@pytest.fixture
def sources(rows: dict[str, Path]) -> list[Source]:
    return [Source("prompts", DataSource(path=str(rows["prompts"]), split="all"))]


def answers(model: ModelConfig, artifact: Artifact, chat: Chat) -> list[list[int]]:
    backbone = open_backbone(model)
    backbone.load("policy", artifact)
    ids = [chat.prompt_ids(asked) for asked in ASKED]
    found = generate(backbone, "policy", chat, ids, max_new_tokens=24, temperature=0.0, seed=1, purpose="test")
    return [answer.ids for answer in found]


def plain_answers(folder: Path) -> list[list[int]]:
    """As a program that has never heard of posttune gets them."""
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    for asked in ASKED:
        given = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_tensors="pt", return_dict=True)
        whole = model.generate(**given, max_new_tokens=24)
        found.append(whole[0, given["input_ids"].shape[1] :].tolist())
    return found


def test_merged_export_gives_the_artifacts_greedy_answers(
    model: ModelConfig, chat: Chat, policies: list[Path], sources: list[Source], tmp_path: Path
) -> None:
    artifact, said = Artifact("sft", "policy", policies[0], "ab" * 32), list[str]()
    export(artifact, model, Order(tmp_path / "out"), sources, said.append)
    expected = answers(model, artifact, chat)
    assert plain_answers(tmp_path / "out") == expected
    assert expected != answers(model, BASE, chat)  # the adapter says something of its own
    assert any(line.startswith("check: 8 of 8 greedy answers") for line in said)
    assert any(line.startswith(f"serve: transformers serve {tmp_path}/out") for line in said)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "8 of 8" in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_beginnings_of_plain_texts_are_asked_where_there_are_no_prompts(talker: ModelConfig, tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"page-{number}.md").write_text(f"Page {number} says: " + "a long story. " * 99, "utf-8")
    pages, said = Source("pages", DataSource(path=str(tmp_path / "*.md"), split="all")), list[str]()
    export(BASE, full_model(Path(talker.model_name_or_path)), Order(tmp_path / "out"), [pages], said.append)
    assert any(line.startswith("check: 3 of 3 greedy answers") for line in said)


def test_system_prompt_of_the_rows_is_on_the_card(talker: ModelConfig, tmp_path: Path) -> None:
    row = {"prompt": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "a"}]}
    source = Source("rows", DataSource(path=str(write_rows(tmp_path / "rows.jsonl", [row])), split="all"))
    said = list[str]()
    export(BASE, full_model(Path(talker.model_name_or_path)), Order(tmp_path / "out"), [source], said.append)
    assert "> be brief" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert any("be brief" in line for line in said)


def test_every_file_of_an_export_may_be_read_by_whom_the_umask_lets(talker: ModelConfig, tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        export(BASE, full_model(Path(talker.model_name_or_path)), Order(tmp_path / "out"), (), lambda line: None)
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "out").iterdir()}
    assert set(modes.values()) == {0o644} and "model.safetensors" in modes


def test_base_that_lacks_a_tensor_is_refused(talker: ModelConfig, sources: list[Source], tmp_path: Path) -> None:
    folder = tmp_path / "base"
    shutil.copytree(talker.model_name_or_path, folder)
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in sorted(tensors) if name.endswith("mlp.up_proj.weight"))
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=f"lack 1 tensors, {lost}"):
        export(BASE, full_model(folder), Order(tmp_path / "out"), sources, lambda line: None)
    assert not (tmp_path / "out").exists()


def test_wholly_tuned_model_and_base_are_exported_as_they_are(
    talker: ModelConfig, chat: Chat, sources: list[Source], tmp_path: Path
) -> None:
    whole = Artifact("sft", "policy", Path(talker.model_name_or_path))
    model = full_model(Path(talker.model_name_or_path))
    for name, artifact in (("whole", whole), ("base", BASE)):
        export(artifact, model, Order(tmp_path / name), sources, lambda line: None)
        assert plain_answers(tmp_path / name) == answers(model, artifact, chat)
    assert any(answer[-1] == chat.end_of_turn for answer in plain_answers(tmp_path / "whole"))  # it ends where we end


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_are_saved_in_the_dtype_that_is_asked_for(
    model: ModelConfig, policies: list[Path], tmp_path: Path, dtype: weights.DType
) -> None:
    export(Artifact("sft", "policy", policies[0]), model, Order(tmp_path / "out", dtype=dtype), (), lambda line: None)
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {getattr(torch, dtype)}  # noqa: SIM118


def test_adapter_export_is_the_artifacts_files_and_answers_through_peft(
    model: ModelConfig, policies: list[Path], sources: list[Source], tmp_path: Path
) -> None:
    said: list[str] = []
    export(Artifact("sft", "policy", policies[0]), model, Order(tmp_path / "out", "adapter"), sources, said.append)
    for file in ("adapter_model.safetensors", "adapter_config.json", "tokenizer.json"):
        assert (tmp_path / "out" / file).read_bytes() == (policies[0] / file).read_bytes()
    assert any("8 of 8" in line for line in said)


def test_adapter_is_held_against_the_artifact_without_its_bases_penalties(
    loud: ModelConfig, chat: Chat, sources: list[Source], tmp_path: Path
) -> None:
    folder = tmp_path / "penalised"
    shutil.copytree(loud.model_name_or_path, folder)
    (folder / "generation_config.json").write_text(json.dumps({"repetition_penalty": 5.0, "temperature": 0.7}))
    model, said = lora_model(folder), list[str]()
    backbone = open_backbone(model)
    backbone.load("policy", BASE, trainable=True, seed=1)
    shake(backbone, "policy", 1)
    (tmp_path / "sft").mkdir()
    publish_policy(backbone, "policy", chat, tmp_path / "sft", made_by="sft")
    export(Artifact("sft", "policy", tmp_path / "sft"), model, Order(tmp_path / "out", "adapter"), sources, said.append)
    assert any("8 of 8" in line for line in said)


def test_export_into_the_working_directory_is_called_after_it(
    model: ModelConfig, policies: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path / "mine")
    said: list[str] = []
    export(Artifact("sft", "policy", policies[0]), model, Order(Path()), (), said.append)
    assert (tmp_path / "mine" / "README.md").read_text("utf-8").startswith("# mine\n")
    assert any(line.startswith(f"serve: transformers serve {tmp_path}/mine") for line in said)


def test_export_that_answers_otherwise_is_found(
    model: ModelConfig, policies: list[Path], sources: list[Source], tmp_path: Path
) -> None:
    one, other = (Artifact("sft", "policy", folder) for folder in policies)
    written = weights.write_merged(other, model, tmp_path, "float32")
    prompts = load(sources[0], "prompt", "heldout").records
    found = agreement.compare(one, model, written, prompts, 24)  # type: ignore[arg-type]
    assert found.num_equal < found.num_prompts == 12
    with pytest.raises(StageFailed, match="answers otherwise"):
        found.check()


@pytest.mark.parametrize(("gap", "dtype", "passes"), [
    (0.005, "float32", True), (0.05, "float32", False), (0.05, "float16", True),
    (0.5, "bfloat16", True), (3.0, "bfloat16", False), (math.inf, "bfloat16", False),
])  # fmt: skip
def test_tie_passes_as_rounding_and_a_preference_does_not(gap: float, dtype: str, passes: bool) -> None:
    found = Agreement(3, [gap], dtype)
    assert "3 of 4" in found.told()[0]
    if passes:
        found.check()
    else:
        with pytest.raises(StageFailed):
            found.check()


@pytest.mark.parametrize(("place", "problem"), [
    ("full", "is not empty"), ("file", "is no folder"), ("none/out", "parent folder does not exist"),
])  # fmt: skip
def test_place_that_is_taken_is_refused_and_left_as_it_was(
    model: ModelConfig, policies: list[Path], tmp_path: Path, place: str, problem: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=problem):
        export(Artifact("sft", "policy", policies[0]), model, Order(tmp_path / place), (), lambda line: None)
    assert {path.name for path in tmp_path.rglob("*")} == {"full", "mine", "file"}


def test_base_has_no_adapter_to_export(model: ModelConfig, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no adapter"):
        export(BASE, model, Order(tmp_path / "out", "adapter"), (), lambda line: None)


def test_gguf_names_the_commands_where_no_converter_is_on_the_path(
    model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as caught:
        export(BASE, model, Order(tmp_path / "out", "gguf", "float16"), (), lambda line: None)
    assert "convert_hf_to_gguf.py" in caught.value.remedy and "--outtype f16" in caught.value.remedy
    assert "posttune export RECIPE STAGE" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("script", "problem"), [
    ("echo 'unknown tokenizer' >&2; exit 3", "ended with status 3: unknown tokenizer"), ("exit 0", "wrote no file"),
])  # fmt: skip
def test_converter_that_fails_leaves_nothing(
    model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
) -> None:
    program = tmp_path / "bin" / "convert_hf_to_gguf.py"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(StageFailed, match=problem):
        export(BASE, model, Order(tmp_path / "out", "gguf"), (), lambda line: None)
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_only_the_gguf_and_its_note_are_left_when_the_tokenizer_has_several_templates(
    model: ModelConfig, tmp_path: Path
) -> None:
    program, folder = tmp_path / "convert", tmp_path / "out"
    program.write_text('#!/bin/sh\necho > "$3"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    written = weights.write_merged(BASE, model, folder, "float16")
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tools.jinja").write_text("{}")
    converter.convert(str(program), written, "mine", "float16")
    assert {path.name for path in folder.iterdir()} == {"mine.gguf", "posttune.json"}


def test_name_that_the_hub_would_refuse_is_told_before_any_work(model: ModelConfig, tmp_path: Path) -> None:
    for name in ("noowner", "a/b/c", "org/na me"):
        with pytest.raises(UserError, match="no name of a repository"):
            export(BASE, model, Order(tmp_path / "out", push=name), (), lambda line: None)
    assert not list(tmp_path.iterdir())


def test_export_stays_where_the_hub_cannot_be_reached(
    model: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(StageFailed, match="was not pushed") as caught:
        export(BASE, model, Order(tmp_path / "out", push="org/name"), (), lambda line: None)
    assert "hf upload org/name" in caught.value.remedy
    assert json.loads((tmp_path / "out" / "posttune.json").read_text("utf-8"))["from"] == "base"


@pytest.mark.hub
@pytest.mark.skipif(not os.environ.get("POSTTUNE_TEST_PUSH"), reason="set POSTTUNE_TEST_PUSH=org/name, with a token")
def test_push_makes_a_private_repository_that_loads(model: ModelConfig, tmp_path: Path) -> None:
    name, said = os.environ["POSTTUNE_TEST_PUSH"], list[str]()
    export(BASE, model, Order(tmp_path / "out", push=name), (), said.append)
    assert said[-1].startswith("pushed: https://")
    assert AutoModelForCausalLM.from_pretrained(name).config.vocab_size == 384
