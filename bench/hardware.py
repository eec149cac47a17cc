"""What the benches ask of the machine: a GPU where there is one, else the processor."""

from __future__ import annotations

import os
import platform
import resource


def device() -> str:
    """Where the models are."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def multiplies_bfloat16() -> bool:
    """Whether it has bfloat16 products of its own."""
    import torch

    from stages.modeling.precision import cpu_multiplies_bfloat16

    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_multiplies_bfloat16()


def finish() -> None:
    """Wait for what a GPU has still to do, before a clock is read."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_mb() -> float:
    """The most memory of this process so far: on a GPU what torch held there, recordings and all, else resident."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_reserved() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def describe() -> str:
    """For the heading of a table."""
    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    native = "with" if multiplies_bfloat16() else "without"
    return f"{platform.machine()} {native} bfloat16 products, {os.cpu_count()} cores, torch {torch.__version__}"
