"""The models a stage works with, by role: `policy`, `reference`, `reward`, `value`, or a candidate's name.

With LoRA there is one frozen base in memory and a small adapter a role (`SharedBackbone`); with full
fine-tuning each role is a model of its own (`SeparateBackbones`). Stages see no difference.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import ModelError
from stages.modeling import adapters, varlen
from stages.modeling.passes import Passes
from stages.modeling.ragged import Layout, Ragged
from stages.modeling.roles import Backbone

__all__ = ["Backbone", "SeparateBackbones", "SharedBackbone", "open_backbone"]

LIGHT = 8e9  # tokens times the square of the hidden size, about 20 us of an H100's products: what starting one takes


class SharedBackbone(Backbone):
    """One frozen base, one LoRA adapter a role. A role made from the base artifact and not trained has none."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        assert config.lora is not None, "a shared backbone needs LoRA"
        self._base = self._read(self.location.path, self.location.revision).requires_grad_(False)
        self._peft: Any = None
        self._layers: list[Any] = []  # those of the base that adapters change
        self._active: str | None = None  # the adapter that computes, once there is one
        self._roles: dict[str, str | None] = {}  # role -> adapter; None: the base as it is
        self._trainable: dict[str, list[nn.Parameter]] = {}
        self._passes = Passes(self.device, self.location.label)

    @property
    def hidden_size(self) -> int:
        return int(self._base.config.get_text_config().hidden_size)

    def load(self, role: str, artifact: Artifact, *, trainable: bool = False, seed: int = 0) -> None:
        if artifact.path is None and not trainable:
            self._roles[role] = None
            return
        if artifact.path is None:
            self._add_fresh(role, seed)
        else:
            self._check_base(artifact)
            self._add_saved(role, artifact.path)
        self._register(role, trainable)

    def copy(self, role: str, source: str, *, trainable: bool = False) -> None:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        adapter = self._roles[source]
        if adapter is None:
            raise ModelError("the base model has no adapter to copy", where=source, remedy="start from an sft stage")
        self._peft.add_adapter(role, copy.deepcopy(self._peft.peft_config[adapter]))
        state = get_peft_model_state_dict(self._peft, adapter_name=adapter, save_embedding_layers=False)
        set_peft_model_state_dict(self._peft, state, adapter_name=role)
        self._register(role, trainable)

    @contextmanager
    def model(self, role: str) -> Iterator[Any]:
        if self._peft is not None and self._roles[role] != self._active:
            self._activate(self._roles[role])
        yield self._base

    def hidden(self, role: str, rows: Layout) -> Tensor:
        num_tokens = len(rows.ids_N)
        is_light = num_tokens * self.hidden_size**2 <= LIGHT
        if not (self.replays and is_light and isinstance(rows, Ragged)) or self._base.training:
            return super().hidden(role, rows)
        learnt = self._trainable.get(role, ()) if torch.is_grad_enabled() else ()
        filled = rows.filled(varlen.coarse(num_tokens, varlen.TOKENS_MULTIPLE))
        with self.model(role) as model:
            return self._passes(self._trunk, model, role, filled, learnt)[:num_tokens]

    def _activate(self, adapter: str | None) -> None:
        """Let that adapter compute, or the base alone.

        peft's own switches also walk all parameters and change which are trained. On SmolLM2 they took 40 and 87 ms, to
        an adapter and to the base, where this takes 1 to 2 (one thread of a busy two-core machine).
        """
        for layer in self._layers:
            layer._disable_adapters = adapter is None
            layer._active_adapter = layer._active_adapter if adapter is None else [adapter]
        self._active = adapter

    def parameters(self, role: str) -> dict[str, nn.Parameter]:
        mark = f".{self._roles[role]}."
        return {name: p for name, p in self._peft.named_parameters() if "lora_" in name and mark in name}

    def save(self, role: str, folder: Path) -> None:
        from peft import get_peft_model_state_dict

        adapter = self._roles[role]
        state = get_peft_model_state_dict(self._peft, adapter_name=adapter, save_embedding_layers=False)
        save_file(
            {name: t.detach().cpu().contiguous() for name, t in state.items()}, folder / "adapter_model.safetensors"
        )
        config = copy.deepcopy(self._peft.peft_config[adapter])
        config.base_model_name_or_path, config.inference_mode = self.location.label, True
        config.save_pretrained(str(folder))
        # peft writes its set of target modules in the order of this process's hashes: equal runs, other bytes.
        file = folder / "adapter_config.json"
        written = json.loads(file.read_text("utf-8"))
        if isinstance(written["target_modules"], list):
            written["target_modules"].sort()
        file.write_text(json.dumps(written, indent=2, sort_keys=True), "utf-8")

    def _add_saved(self, role: str, folder: Path) -> None:
        from peft import PeftModel, get_peft_model_state_dict

        stored = adapters.check(folder)
        try:
            if self._peft is None:
                self._peft = PeftModel.from_pretrained(self._base, str(folder), adapter_name=role)
            else:
                self._peft.load_adapter(str(folder), adapter_name=role)
        except (RuntimeError, ValueError, TypeError) as error:
            raise ModelError(
                f"the adapter does not fit the base model: {' '.join(str(error).split())[:200]}",
                where=str(folder),
                remedy="use the base model that it was trained on",
            ) from error
        wanted = get_peft_model_state_dict(self._peft, adapter_name=role, save_embedding_layers=False)
        adapters.check_loaded(folder, stored, set(wanted))

    def _add_fresh(self, role: str, seed: int) -> None:
        from peft import LoraConfig, get_peft_model

        wanted = self.config.lora
        assert wanted is not None, "checked at construction"
        targets = wanted.target_modules
        config = LoraConfig(
            r=wanted.r,
            lora_alpha=wanted.alpha,
            lora_dropout=wanted.dropout,
            task_type="CAUSAL_LM",
            target_modules=targets if isinstance(targets, str) else list(targets),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            try:
                if self._peft is None:
                    self._peft = get_peft_model(self._base, config, adapter_name=role)
                else:
                    self._peft.add_adapter(role, config)
            except ValueError as error:
                raise ModelError(
                    f"LoRA does not fit this model: {error}",
                    where="model.lora",
                    remedy="target_modules: all-linear fits every model",
                ) from error

    def _register(self, role: str, trainable: bool) -> None:
        heads = (self._base.get_output_embeddings(), self._base.get_input_embeddings())
        if any(hasattr(head, "lora_A") for head in heads):
            raise ModelError(
                "LoRA on the embeddings or the language-model head, which the scorer reads as they are",
                where="model.lora.target_modules",
                remedy="name other modules, or all-linear",
            )
        from peft.tuners.tuners_utils import BaseTunerLayer

        from stages.modeling import lora

        assert role not in self._trainable, "recorded passes read the weights that it began with"
        self._roles[role] = role
        if trainable:
            self._trainable[role] = list(self.parameters(role).values())
        self._peft.eval()
        lora.fuse(self._peft)
        self._layers = [module for module in self._peft.modules() if isinstance(module, BaseTunerLayer)]
        self._activate(role)
        # peft turns gradients on for the adapter it has brought in last and off for all others.
        for own, adapter in self._roles.items():
            if adapter is not None:
                for parameter in self.parameters(own).values():
                    parameter.requires_grad_(own in self._trainable)

    def _check_base(self, artifact: Artifact) -> None:
        info = artifact.info
        if info.get("tuning") == "full":
            raise ModelError(
                f"'{artifact.name}' holds whole weights, but the recipe asks for LoRA",
                where="model.lora",
                remedy="leave `lora` out, or name that folder as model_name_or_path",
            )
        if os.path.expanduser(str(info.get("base", self.location.label))) != os.path.expanduser(self.location.label):
            raise ModelError(
                f"'{artifact.name}' was trained on {info['base']}, the recipe's base is {self.location.label}",
                where="model.model_name_or_path",
                remedy="use the same base for all stages",
            )


class SeparateBackbones(Backbone):
    """A whole model for each role."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self._models: dict[str, Any] = {}

    @property
    def hidden_size(self) -> int:
        return int(next(iter(self._models.values())).config.get_text_config().hidden_size)

    def load(self, role: str, artifact: Artifact, *, trainable: bool = False, seed: int = 0) -> None:
        if artifact.info.get("tuning") == "lora":
            raise ModelError(
                f"'{artifact.name}' is an adapter, but the recipe trains every weight",
                where="model.lora",
                remedy="give the recipe the same `lora` section as the run that made it",
            )
        path, revision = (str(artifact.path), None) if artifact.path else (self.location.path, self.location.revision)
        self._models[role] = self._ready(self._read(path, revision), trainable)

    def copy(self, role: str, source: str, *, trainable: bool = False) -> None:
        self._models[role] = self._ready(copy.deepcopy(self._models[source]), trainable)

    def _ready(self, model: Any, trainable: bool) -> Any:
        # autocast keeps what it casts of weights that learn only, and a decoding step would cast all of them anew.
        return model.requires_grad_(trainable or self.mixed)

    @contextmanager
    def model(self, role: str) -> Iterator[Any]:
        yield self._models[role]

    def parameters(self, role: str) -> dict[str, nn.Parameter]:
        return dict(self._models[role].named_parameters())

    def save(self, role: str, folder: Path) -> None:
        self._models[role].save_pretrained(str(folder))


def open_backbone(config: ModelConfig) -> Backbone:
    """The backbone that fits the recipe's model section."""
    return SharedBackbone(config) if config.lora else SeparateBackbones(config)
