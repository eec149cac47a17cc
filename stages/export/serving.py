"""The commands that serve an export through programs that people already run."""

from __future__ import annotations

import shlex
from pathlib import Path

from stages.modeling.locate import Location


def of_merged(place: Path, dtype: str) -> list[str]:
    """Both servers speak OpenAI's protocol on port 8000. vLLM would else load float32 as float16."""
    folder = shlex.quote(str(place.absolute()))
    return [
        f"serve: transformers serve {folder} --port 8000",
        "  needs: pip install 'transformers[serving]'",
        f"   or: vllm serve {folder} --dtype {dtype} --port 8000",
    ]


def of_gguf(file: Path) -> list[str]:
    """llama.cpp's own server, which reads the chat template out of the file."""
    return [f"serve: llama-server --model {shlex.quote(str(file.absolute()))} --jinja --port 8000"]


def of_adapter(place: Path, base: Location) -> list[str]:
    """vLLM serves adapters on a base that it can fetch or read; the one inside a package is neither by its name."""
    if base.label.startswith("package:"):
        return [f"serve: its base is inside {base.label}; --format merged writes what a server can load"]
    adapter = shlex.quote(f"{place.name}={place.absolute()}")
    return [f"serve: vllm serve {shlex.quote(base.path)} --enable-lora --lora-modules {adapter} --port 8000"]
