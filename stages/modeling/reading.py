"""A base model read from its files, whole or not at all, without running anything that came with them."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.contract import ModelConfig
from pipeline.errors import ModelError, first_line


def read_model(
    path: str,
    revision: str | None,
    config: ModelConfig,
    *,
    dtype: torch.dtype,
    label: str,
    attention: str | None = None,
) -> Any:
    """The model of a folder or hub id; `label` is what messages call it. ModelError if it cannot be read, or lacks
    tensors, which transformers would make up.
    """
    from transformers import AutoModelForCausalLM

    chosen = {} if attention is None else {"attn_implementation": attention}
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            trust_remote_code=config.trust_remote_code,
            weights_only=True,  # a pickle among the weights cannot run anything; safetensors come first
            output_loading_info=True,
            **chosen,
        )
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # of a stranger's files, and each library that reads one raises its own kinds
        raise ModelError(
            f"the model could not be loaded: {first_line(error)}",
            where=label,
            remedy="check model_name_or_path, and the network for a hub id",
        ) from error
    if loaded["missing_keys"]:
        raise ModelError(
            f"the model's files lack {len(loaded['missing_keys'])} tensors, {min(loaded['missing_keys'])} for one",
            where=label,
            remedy="fetch or write the model again: what is missing would be random",
        )
    return model
