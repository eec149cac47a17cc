# ruff: noqa: E501
"""Hostile checkpoints, artifacts, models and GGUF files, each sealed again by a manifest that vouches for it."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]  # of the folder that holds the files


@dataclass(frozen=True)
class Case:
    """One change of a folder, with the place and the finding that the refusal must name."""

    id: str
    where: str
    problem: str
    change: Change


class Bomb:
    """Pickled, it leaves a canary where it is loaded."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, ("canary", "w")


def bomb(name: str, instead_of: str = "") -> Change:
    """A pickle that runs code, under the name of a file of weights."""

    def change(folder: Path) -> None:
        import torch

        torch.save({"weight": Bomb()}, folder / name)
        (folder / instead_of).unlink() if instead_of else None

    return change


def put(name: str, content: bytes | str) -> Change:
    """Another content of a file."""
    return lambda folder: (
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode()) and None
    )


def cut(name: str, keep: float = 0.5) -> Change:
    """A part of the file."""
    return lambda folder: put(name, (folder / name).read_bytes()[: int(keep * (folder / name).stat().st_size)])(folder)


def values(name: str, **given: Any) -> Change:
    """Other values in a JSON object."""
    return lambda folder: put(name, json.dumps({**json.loads((folder / name).read_bytes()), **given}))(folder)


def tensors(name: str, edit: Callable[[dict[str, Any]], Any]) -> Change:
    """A safetensors file, well-formed, of other tensors."""

    def change(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        held = load_file(folder / name)
        edit(held)
        save_file(held, folder / name, {"format": "pt"})

    return change


def state(edit: Callable[[dict[str, Any]], Any]) -> Change:
    """A state.pt, well-formed, of another state."""

    def change(folder: Path) -> None:
        import torch

        held = torch.load(folder / "state.pt", weights_only=True)
        edited = edit(held)
        torch.save(held if edited is None else edited, folder / "state.pt")

    return change


def without(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def _first(held: dict[str, Any]) -> str:
    return sorted(held)[0]


def _scale_shape(held: dict[str, Any]) -> None:
    held[_first(held)] = held[_first(held)][:1].clone()


def _broadcast(held: dict[str, Any]) -> None:
    parameters = held["parameters"]
    parameters[_first(parameters)] = parameters[_first(parameters)][:1, :1].clone()


def _moments(held: dict[str, Any]) -> None:
    moments = held["optimizer"]["state"][0]
    moments["exp_avg"] = moments["exp_avg"][:1].clone()


HUGE = struct.pack("<Q", 2**62)  # the length of a safetensors header, or a count
SAFE_HEADER = json.dumps({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
BAD_SAFETENSORS = {
    "empty": b"",
    "header-longer-than-file": HUGE + b"{}",
    "header-not-json": struct.pack("<Q", 4) + b"{{{{",
    "tensor-behind-the-end": struct.pack("<Q", len(SAFE_HEADER)) + SAFE_HEADER,
    "pickle": pickle.dumps({"weight": Bomb()}),
}

NOT_HELD = "does not hold what its stage saves"
CHECKPOINTS = [
    Case("state-pickle-bomb", "", NOT_HELD, bomb("state.pt")),
    Case("state-plain-pickle", "", NOT_HELD, put("state.pt", pickle.dumps(Bomb()))),
    Case("state-truncated", "", NOT_HELD, cut("state.pt")),
    Case("state-empty", "", NOT_HELD, put("state.pt", b"")),
    Case("state-missing", "", NOT_HELD, without("state.pt")),
    Case("state-is-list", "", NOT_HELD, state(lambda held: [1, 2])),
    Case("state-without-arithmetic", "", NOT_HELD, state(lambda held: held.pop("arithmetic") and None)),
    Case("state-without-optimizer", "", NOT_HELD, state(lambda held: held.pop("optimizer") and None)),
    Case("state-lacks-a-parameter", "", NOT_HELD, state(lambda held: held["parameters"].popitem() and None)),
    Case("state-of-other-shapes", "", NOT_HELD, state(_broadcast)),
    Case("state-of-other-moments", "", NOT_HELD, state(_moments)),
    Case("state-on-other-arithmetic", "", "and here it would go on with", state(lambda held: held.update(arithmetic="float16 on tpu"))),
]  # fmt: skip


def _outside(folder: Path) -> None:
    (folder.parent / "outside").write_text("x", "utf-8")
    entries = json.loads((folder / "MANIFEST.json").read_text("utf-8"))
    put("MANIFEST.json", json.dumps({**entries, "../outside": entries["state.pt"]}))(folder)


def _flip(folder: Path) -> None:
    held = bytearray((folder / "state.pt").read_bytes())
    held[len(held) // 2] ^= 1
    put("state.pt", bytes(held))(folder)


def _link(folder: Path) -> None:
    (folder / "state.pt").rename(folder.parent / "elsewhere")
    (folder / "state.pt").symlink_to(folder.parent / "elsewhere")


DAMAGED: list[tuple[str, Change]] = [  # set aside in one line; the run goes on from the checkpoint before
    ("bit-flipped", _flip),
    ("cut", cut("state.pt")),
    ("file-gone", without("state.pt")),
    ("file-added", put("extra.bin", b"x")),
    ("file-is-a-link", _link),
    ("manifest-not-json", put("MANIFEST.json", b"{")),
    ("manifest-list", put("MANIFEST.json", b"[]")),
    ("manifest-empty-object", put("MANIFEST.json", b"{}")),
    ("manifest-deep", put("MANIFEST.json", b"[" * 100_000)),
    ("manifest-leads-out", _outside),
    ("manifest-of-wrong-types", put("MANIFEST.json", b'{"state.pt": 7}')),
]

ADAPTER, WEIGHTS, HEAD = "adapter_config.json", "adapter_model.safetensors", "head.safetensors"
AT_SFT, AT_RM = "runs/whole/sft/", "runs/whole/rm/"


def _adapter(name: str, problem: str, change: Change) -> Case:
    return Case(f"adapter-{name}", AT_SFT, problem, change)


ADAPTERS = [  # of sft's output, which rm starts from
    _adapter("config-missing", "cannot be read", without(ADAPTER)),
    _adapter("config-not-json", "cannot be read", put(ADAPTER, b"{")),
    _adapter("config-deep", "cannot be read", put(ADAPTER, b"[" * 100_000)),
    _adapter("config-list", "is not that of a LoRA adapter", put(ADAPTER, b"[]")),
    _adapter("of-another-kind", "is not that of a LoRA adapter", values(ADAPTER, peft_type="PROMPT_TUNING")),
    _adapter("imports-a-module", "sets megatron_c", values(ADAPTER, megatron_config={"a": 1}, megatron_core="canary_module")),
    _adapter("names-a-library", "sets auto_mapping", values(ADAPTER, auto_mapping={"parent_library": "canary_module", "base_model_class": "X"})),
    _adapter("saves-other-modules", "sets modules_to_save", values(ADAPTER, modules_to_save=["lm_head"])),
    _adapter("unknown-setting", "that this peft does not know", values(ADAPTER, backdoor="on")),
    _adapter("rank-is-text", "has no rank and alpha", values(ADAPTER, r="4")),
    _adapter("rank-is-huge", "has no rank and alpha", values(ADAPTER, r=2**40)),
    _adapter("rank-is-another", "does not fit the base model", values(ADAPTER, r=3)),
    _adapter("targets-are-numbers", "names no modules", values(ADAPTER, target_modules=[1])),
    _adapter("targets-nothing", "does not fit the base model", values(ADAPTER, target_modules=["nowhere"])),
    _adapter("weights-missing", "holds no adapter_model.safetensors", without(WEIGHTS)),
    _adapter("weights-pickled", "holds no adapter_model.safetensors", bomb("adapter_model.bin", WEIGHTS)),
    *(_adapter(f"weights-{name}", "is no safetensors file", put(WEIGHTS, held)) for name, held in BAD_SAFETENSORS.items()),
    _adapter("weights-cut", "is no safetensors file", cut(WEIGHTS)),
    _adapter("weights-lack-a-tensor", "lacks 1 tensors", tensors(WEIGHTS, lambda held: held.pop(_first(held)))),
    _adapter("weights-have-more", "also holds 1 tensors", tensors(WEIGHTS, lambda held: held.update(more=held[_first(held)].clone()))),
    _adapter("weights-of-other-shapes", "does not fit the base model", tensors(WEIGHTS, _scale_shape)),
    Case("info-not-json", AT_SFT, "is no JSON object", put("posttune.json", b"{")),
    Case("info-list", AT_SFT, "is no JSON object", put("posttune.json", b"[1]")),
    Case("info-of-another-base", "model.model_name_or_path", "was trained on elsewhere/other", values("posttune.json", base="elsewhere/other")),
    Case("info-of-whole-weights", "model.lora", "holds whole weights", values("posttune.json", tuning="full")),
]  # fmt: skip

HEADS = [  # of rm's output, which ppo is paid by
    Case("head-missing", AT_RM, "there is no score head here", without(HEAD)),
    *(Case(f"head-{name}", AT_RM, "cannot be read as one", put(HEAD, held)) for name, held in BAD_SAFETENSORS.items()),
    Case("head-without-weight", AT_RM, "cannot be read as one", tensors(HEAD, lambda held: held.pop("weight"))),
    Case("head-of-another-size", AT_RM, "cannot be read as one", tensors(HEAD, lambda held: held.update(weight=held["weight"][:7].clone()))),
    Case("head-not-finite", AT_RM, "scores that are not finite", tensors(HEAD, lambda held: held["mean"].fill_(float("nan")))),
    Case("head-divides-by-zero", AT_RM, "scores that are not finite", tensors(HEAD, lambda held: held["std"].fill_(0))),
    Case("reward-of-another-tokenizer", AT_RM, "another tokenizer", values("posttune.json", tokenizer="0" * 16)),
    Case("reward-figures-are-text", AT_RM, "held-out figures cannot be read", values("posttune.json", heldout={"accuracy": "high"})),
    Case("reward-figures-are-a-list", AT_RM, "held-out figures cannot be read", values("posttune.json", heldout=[1])),
]  # fmt: skip

CODE = "raise SystemExit(open('canary', 'w').write('ran'))\n"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}"
NOT_LOADED, NO_TOKENIZER, NO_TEMPLATE = (
    "the model could not be loaded",
    "the tokenizer could not be loaded",
    "the chat template refused",
)


def _remote(file: str, **auto_map: Any) -> Change:
    def change(folder: Path) -> None:
        values(file, auto_map=auto_map, model_type="stranger")(folder) if file == "config.json" else values(
            file, auto_map=auto_map, tokenizer_class="Stranger"
        )(folder)
        put("canary_module.py", CODE)(folder)

    return change


def _template(name: str, text: str, problem: str = NO_TEMPLATE) -> Case:
    return Case(f"template-{name}", "model", problem, put("chat_template.jinja", text))


MODELS = [  # the base model's folder, called `model`
    Case("config-not-json", "model", "could not be loaded", put("config.json", b"{")),
    Case("config-list", "model", "could not be loaded", put("config.json", b"[]")),
    Case("config-of-no-known-type", "model", "could not be loaded", values("config.json", model_type="nothing")),
    Case("config-runs-code", "model", "could not be loaded", _remote("config.json", AutoConfig="canary_module.C", AutoModelForCausalLM="canary_module.M")),
    Case("config-sizes-are-text", "model", "could not be loaded", values("config.json", hidden_size="wide")),
    Case("config-without-heads", "model", "could not be loaded", values("config.json", num_attention_heads=0)),
    Case("weights-missing", "model", NOT_LOADED, without("model.safetensors")),
    Case("weights-pickle-bomb", "model", NOT_LOADED, bomb("pytorch_model.bin", "model.safetensors")),
    *(Case(f"weights-{name}", "model", NOT_LOADED, put("model.safetensors", held)) for name, held in BAD_SAFETENSORS.items()),
    Case("weights-cut", "model", NOT_LOADED, cut("model.safetensors")),
    Case("weights-lack-a-tensor", "model", "files lack 1 tensors", tensors("model.safetensors", lambda held: held.pop("model.norm.weight"))),
    Case("weights-of-other-shapes", "model", NOT_LOADED, tensors("model.safetensors", _scale_shape)),
    Case("tokenizer-not-json", "model", NO_TOKENIZER, put("tokenizer.json", b"{")),
    Case("tokenizer-of-wrong-types", "model", NO_TOKENIZER, values("tokenizer.json", model={"type": "BPE", "vocab": 7})),
    Case("tokenizer-config-not-json", "model", NO_TOKENIZER, put("tokenizer_config.json", b"{")),
    Case("tokenizer-runs-code", "model", NO_TOKENIZER, _remote("tokenizer_config.json", AutoTokenizer=["canary_module.T", None])),
    _template("not-jinja", "{% for %}"),
    _template("asks-for-classes", "{{ ''.__class__.__mro__[1].__subclasses__() }}"),
    _template("asks-for-globals", "{{ cycler.__init__.__globals__.os.system('touch canary') }}"),
    _template("calls-into-os", "{{ self.__init__.__globals__.__builtins__.open('canary', 'w') }}"),
    _template("loops", LOOP),
    _template("asks-for-memory", "{{ 'a' * 10 ** 19 }}"),
    _template("recurses", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
]  # fmt: skip


def _text(held: bytes) -> bytes:
    return struct.pack("<Q", len(held)) + held


def _gguf(num_tensors: int, num_values: int, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, num_tensors, num_values) + rest


_KEY = _text(b"general.architecture")
GGUF: list[tuple[str, str, bytes]] = [
    ("empty", "", b""),
    ("other-magic", "does not begin with GGUF", b"GGML" + b"\0" * 64),
    ("pickle", "does not begin with GGUF", pickle.dumps(Bomb())),
    ("only-magic", "", b"GGUF"),
    ("other-version", "version 99", _gguf(0, 0, version=99)),
    ("no-values", "could not be converted", _gguf(0, 0)),
    ("values-without-number", "", _gguf(0, 2**62)),
    ("tensors-without-number", "", _gguf(2**62, 0)),
    ("text-without-end", "in the middle of its header", _gguf(0, 1, HUGE + b"general")),
    ("value-of-unknown-type", "a value of type 77", _gguf(0, 1, _KEY + struct.pack("<I", 77))),
    ("array-without-end", "in the middle of its header", _gguf(0, 1, _KEY + struct.pack("<IIQ", 9, 0, 2**62))),
    ("texts-without-end", "", _gguf(0, 1, _KEY + struct.pack("<IIQ", 9, 8, 2**62))),
    ("arrays-in-arrays", "an array of type 9", _gguf(0, 1, _KEY + struct.pack("<IIQ", 9, 9, 1))),
    ("tensor-of-many-dimensions", "of 4000000000 dimensions", _gguf(1, 0, _text(b"x") + struct.pack("<I", 4_000_000_000))),
    ("tensor-behind-the-end", "lies behind its end", _gguf(1, 0, _text(b"x") + struct.pack("<IQIQ", 1, 4, 0, 2**50))),
    ("architecture-unknown", "could not be converted", _gguf(0, 1, _KEY + struct.pack("<I", 8) + _text(b"stranger") + b"\0" * 64)),
]  # fmt: skip


def package(folder: Path, content: bytes) -> None:
    """An installed package `hostile-model` in a folder of the path, that ships a GGUF file of this content."""
    (folder / "hostile_model").mkdir(parents=True)
    (folder / "hostile_model/m.gguf").write_bytes(content)
    info = folder / "hostile_model-1.0.dist-info"
    shutil.rmtree(info, ignore_errors=True)
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hostile-model\nVersion: 1.0\n", "utf-8")
    (info / "RECORD").write_text("hostile_model/m.gguf,,\n", "utf-8")
