"""An adapter's folder, looked at before peft reads it: another stage wrote it, or a stranger did.

Of adapter_config.json only the settings that say how large the adapter is and where it sits may differ from peft's
defaults: others import modules that the file names (megatron_core), or change what is trained. Weights come from
safetensors alone; peft would else unpickle adapter_model.bin.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pipeline.errors import ModelError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FREE = {
    "base_model_name_or_path", "revision", "inference_mode", "task_type", "peft_version",
    "r", "lora_alpha", "lora_dropout", "use_rslora", "fan_in_fan_out",
    "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
}  # fmt: skip


def check(folder: Path) -> set[str]:
    """The names of the adapter's tensors; ModelError where a file is missing, broken or asks for more than LoRA."""
    given = _config(folder / CONFIG)
    from peft import LoraConfig

    plain = json.loads(json.dumps(LoraConfig().to_dict(), default=list))
    for name, value in given.items():
        if name not in plain and value is not None:
            raise _refused(folder / CONFIG, f"has a setting '{name[:60]}' that this peft does not know")
        if name == "init_lora_weights" and value in (True, False, "gaussian"):  # others write to the base's weights
            continue
        if name not in FREE and value != plain.get(name):
            raise _refused(folder / CONFIG, f"sets {name} to {json.dumps(value)[:60]}, which posttune does not load")
    _check_sizes(folder / CONFIG, given)
    if not (folder / WEIGHTS).is_file():
        raise _refused(folder, f"holds no {WEIGHTS} (weights in other files are not read)")
    try:
        with safe_open(folder / WEIGHTS, "pt") as file:
            return set(file.keys())
    except (SafetensorError, OSError) as error:
        raise _refused(folder / WEIGHTS, f"is no safetensors file ({error})") from error


def check_loaded(folder: Path, stored: set[str], wanted: set[str]) -> None:
    """ModelError unless the file held a weight for each that the adapter has: peft fills gaps with fresh ones."""
    for found, names in (("lacks", wanted - stored), ("also holds", stored - wanted)):
        if names:
            raise _refused(folder / WEIGHTS, f"{found} {len(names)} tensors, for example {min(names)}")


def _config(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(file, f"cannot be read ({' '.join(str(error).split())[:120]})") from error
    if not isinstance(given, dict) or given.get("peft_type") != "LORA":
        raise _refused(file, "is not that of a LoRA adapter")
    return given


def _check_sizes(file: Path, given: dict[str, Any]) -> None:
    rank, alpha, targets = given.get("r"), given.get("lora_alpha"), given.get("target_modules")
    if type(rank) is not int or not 0 < rank <= 2**16 or type(alpha) not in (int, float):
        raise _refused(file, f"has no rank and alpha, but {json.dumps([rank, alpha])[:60]}")
    names = targets if isinstance(targets, list) else [targets]
    if not names or not all(isinstance(name, str) for name in names):
        raise _refused(file, f"names no modules, but {json.dumps(targets)[:60]}")


def _refused(place: Path, problem: str) -> ModelError:
    return ModelError(problem, where=str(place), remedy="name the output of a posttune stage, or a plain LoRA adapter")
