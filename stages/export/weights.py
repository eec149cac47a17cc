"""The files of an export: merged weights with their tokenizer, or the adapter as it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import ModelError, first_line
from stages.export import serving
from stages.modeling import adapters
from stages.modeling.chat import Chat, load_chat
from stages.modeling.locate import Location, locate

DType = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Written:
    """What lies in the folder, and what a program needs to know to load it."""

    folder: Path
    kind: Literal["merged", "adapter", "gguf"]
    dtype: str  # of the weights in the file
    base: Location
    trusts_code: bool = False  # as the recipe's model section says
    file: str = ""  # the GGUF's name

    def commands(self, place: Path) -> list[str]:
        """How to serve it from `place`, a line each."""
        if self.kind == "merged":
            return serving.of_merged(place, self.dtype)
        if self.kind == "gguf":
            return serving.of_gguf(place / self.file)
        return serving.of_adapter(place, self.base)


def write_merged(artifact: Artifact, model: ModelConfig, folder: Path, dtype: DType) -> Written:
    """Whole weights: with LoRA W + (alpha / r) B A, added in float32 and rounded once, to `dtype`."""
    import torch

    chat, base = load_chat(model), locate(model)
    chat.check_same(artifact)
    is_adapter = artifact.info.get("tuning") == "lora"
    own = artifact.path is not None and not is_adapter
    whole = _read(str(artifact.path), None, model) if own else _read(base.path, base.revision, model)
    if is_adapter:
        assert artifact.path is not None
        whole = _add(whole, artifact.path)
    whole = whole.to(getattr(torch, dtype))
    whole.generation_config = generation_config(chat)
    whole.save_pretrained(str(folder))
    chat.tokenizer.save_pretrained(str(folder))
    _note(folder, {"tuning": "full", "base": base.label, "dtype": dtype, "tokenizer": chat.digest}, artifact)
    return Written(folder, "merged", dtype, base, model.trust_remote_code)


def write_adapter(artifact: Artifact, model: ModelConfig, folder: Path) -> Written:
    """The artifact's own files: the adapter, the tokenizer, and its base's name in both notes."""
    assert artifact.path is not None, "checked before"
    load_chat(model).check_same(artifact)
    adapters.check(artifact.path)
    shutil.copytree(artifact.path, folder, dirs_exist_ok=True)
    return Written(folder, "adapter", "float32", locate(model), model.trust_remote_code)


def load_plainly(written: Written, dtype: Any) -> Any:
    """The export as any program would load it: by transformers, and peft, alone."""
    from transformers import AutoModelForCausalLM, GgufConfig

    trusts: dict[str, Any] = {"dtype": dtype, "trust_remote_code": written.trusts_code}
    if written.kind == "merged":
        return AutoModelForCausalLM.from_pretrained(str(written.folder), **trusts).eval()
    if written.kind == "gguf":
        settings = GgufConfig(gguf_file=written.file, dequantize=True)
        return AutoModelForCausalLM.from_pretrained(
            str(written.folder), gguf_file=written.file, dtype=dtype, quantization_config=settings
        ).eval()
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(written.base.path, revision=written.base.revision, **trusts)
    return PeftModel.from_pretrained(base, str(written.folder)).eval()


def _read(path: str, revision: str | None, model: ModelConfig) -> Any:
    import torch

    from stages.modeling.reading import read_model

    return read_model(path, revision, model, dtype=torch.float32, label=path)


def _add(base: Any, adapter: Path) -> Any:
    from peft import PeftModel, get_peft_model_state_dict

    stored = adapters.check(adapter)
    try:
        model = PeftModel.from_pretrained(base, str(adapter))
    except (RuntimeError, ValueError, TypeError) as error:
        raise ModelError(
            f"the adapter does not fit the base model: {first_line(error)}",
            where=str(adapter),
            remedy="use the base model that it was trained on",
        ) from error
    adapters.check_loaded(adapter, stored, set(get_peft_model_state_dict(model, save_embedding_layers=False)))
    return model.merge_and_unload()


def generation_config(chat: Chat) -> Any:
    """Greedy, and every token that ends a turn ends it: a base model's own often knows the end of text alone."""
    from transformers import GenerationConfig

    return GenerationConfig(
        eos_token_id=sorted(chat.stop_ids), pad_token_id=chat.pad_id, bos_token_id=chat.tokenizer.bos_token_id
    )


def _note(folder: Path, info: dict[str, Any], artifact: Artifact) -> None:
    """For another recipe that names this folder as its model, and for whoever asks where it is from."""
    made = {"role": "policy", "made_by": "export", "from": artifact.name, "digest": artifact.digest}
    (folder / "posttune.json").write_text(json.dumps(info | made, indent=1), "utf-8")
