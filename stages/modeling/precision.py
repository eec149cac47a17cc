"""Which dtype the base weights get where the recipe leaves it to us. Light: `plan` foretells memory with it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pipeline.contract import ModelConfig

# Without one of these, a bfloat16 product on a CPU is emulated. Measured on an AVX2 machine (Zen 3, 2 cores, torch
# 2.13): 118 GFLOP/s in float32, 15 forward and 1 backward in bfloat16, so a step takes fifty times as long.
BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # two of x86, and ARM's
GPU_FILES = ("/proc/driver/nvidia/version", "/dev/kfd")  # NVIDIA's and AMD's kernel drivers


def weights_dtype(model: ModelConfig, multiplies_bfloat16: bool | None = None) -> str:
    """The name of the torch dtype of the base weights; what the hardware can do is guessed where it is not given.

    auto: float32 where every weight is trained, since bfloat16 rounds small updates away; under LoRA, whose
    small trained weights stay float32, bfloat16 where the hardware multiplies it.
    """
    if model.dtype != "auto":
        return model.dtype
    if model.lora is None:
        return "float32"
    return "bfloat16" if _multiplies_bfloat16(multiplies_bfloat16) else "float32"


def mixes_bfloat16(model: ModelConfig, multiplies_bfloat16: bool | None = None) -> bool:
    """Whether float32 weights are cast to bfloat16 for each product (Micikevicius et al. 2018): all trained, `auto`."""
    return model.dtype == "auto" and model.lora is None and _multiplies_bfloat16(multiplies_bfloat16)


def has_gpu() -> bool:
    """Whether a GPU's driver is loaded; plan must not load torch to ask."""
    return any(Path(file).exists() for file in GPU_FILES)


def _multiplies_bfloat16(multiplies_bfloat16: bool | None) -> bool:
    if multiplies_bfloat16 is not None:
        return multiplies_bfloat16
    return has_gpu() or cpu_multiplies_bfloat16()  # most GPUs do


@cache
def cpu_multiplies_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor has bfloat16 products of its own; False where the system does not say (macOS)."""
    try:
        lines = cpuinfo.read_text("utf-8", errors="replace").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return any(BFLOAT16_FLAGS & set(found) for found in flags)
