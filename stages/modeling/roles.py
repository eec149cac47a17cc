"""What a stage asks of its models, by role: hidden states, the head, weights to train and to save.

backbone.py holds the two ways to keep the models in memory. In eval mode but inside `learning`, where LoRA's
dropout is on if the recipe has any; a base model's own never is.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import ModelError
from stages.modeling import norms, ragged, varlen
from stages.modeling.locate import Location, locate
from stages.modeling.passes import Fixed, Standing, is_recordable
from stages.modeling.precision import cpu_multiplies_bfloat16, mixes_bfloat16, weights_dtype
from stages.modeling.ragged import Group, Layout, Ragged
from stages.modeling.reading import read_model

# Models that change the logits after the head; our fused scorer multiplies by the head alone.
LOGIT_FACTORS = {"final_logit_softcapping": None, "logit_scale": 1.0, "logits_scaling": 1.0, "lm_head_multiplier": 1.0}
MAX_LEAK = 0.01  # of the largest hidden state. Rows that see themselves alone differ by 0; experts in bfloat16 by less


def role_of_artifact(artifact: Artifact) -> str:
    """A role for an artifact of any name: an adapter's may hold no dot, a stage's may, and neither has a slash."""
    return "candidate_" + artifact.name.replace(".", "/")


class Backbone(ABC):
    """Roles, and what each can do. Hidden states are [M, D], all tokens of a forward, in the weights' dtype."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.location: Location = locate(config)
        own = int(os.environ.get("LOCAL_RANK", "0"))  # of several processes on one machine, each has its GPU
        self.device = torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")
        on_gpu = self.device.type == "cuda"
        native = torch.cuda.is_bf16_supported(including_emulation=False) if on_gpu else cpu_multiplies_bfloat16()
        self.dtype_name = weights_dtype(config, native)
        self.dtype: torch.dtype = getattr(torch, self.dtype_name)
        self.mixed = mixes_bfloat16(config, native)
        self.repeats = True  # whether the same run gives the same bits
        self.is_recordable = False  # whether a GPU can replay a pass of the very same rows
        self.replays = False  # whether of others of their kind too
        self.attention = config.attn_implementation or ragged.NAME

    @abstractmethod
    def load(self, role: str, artifact: Artifact, *, trainable: bool = False, seed: int = 0) -> None:
        """Bring in a role from a policy or reward artifact; the base artifact gives it fresh weights to train."""

    @abstractmethod
    def copy(self, role: str, source: str, *, trainable: bool = False) -> None:
        """Make `role` start from the present weights of the role `source`."""

    @abstractmethod
    def model(self, role: str) -> Any:
        """A context manager that yields the causal language model with this role's weights active."""

    @abstractmethod
    def parameters(self, role: str) -> dict[str, nn.Parameter]:
        """The role's own weights by name, in a fixed order."""

    @abstractmethod
    def save(self, role: str, folder: Path) -> None:
        """Write the role so that plain transformers/peft can load it."""

    def hidden(self, role: str, rows: Layout) -> Tensor:
        """Last hidden states [M, D] of all tokens of the rows, before the language-model head."""
        with self.model(role) as model, self.products():
            return self._states(model, rows)

    def products(self) -> AbstractContextManager[Any]:
        """In here float32 weights multiply in bfloat16, if the model does; what is cast for it is kept to the end."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.mixed else nullcontext()

    def _states(self, model: Any, rows: Layout) -> Tensor:
        if self.device.type == "cuda" and isinstance(rows, Ragged):
            return self._trunk(model, rows.filled(varlen.TOKENS_MULTIPLE))[: len(rows.ids_N)]
        return self._trunk(model, rows)

    def _trunk(self, model: Any, rows: Layout) -> Tensor:
        layout: dict[str, Any]
        if self.attention == ragged.NAME:
            # transformers makes no mask of its own where it is given one of four dimensions
            layout = {"attention_mask": torch.empty(1, 1, 1, 0), "ragged": rows}
        else:
            assert isinstance(rows, Ragged), "other layouts bring an attention of their own"
            layout = {"attention_mask": self._masks(rows, model.config.get_text_config())}
        trunk = getattr(model, model.base_model_prefix)
        return trunk(  # type: ignore[no-any-return]
            input_ids=rows.ids_N.to(self.device)[None],
            position_ids=rows.positions_N.to(self.device)[None],
            use_cache=False,
            **layout,
        ).last_hidden_state[0]

    def _masks(self, rows: Ragged, config: Any) -> Tensor | dict[str, Tensor]:
        """What transformers' own attention adds to its logits; by kind of layer where some see only a window."""

        def additive(window: int | None) -> Tensor:
            unseen = ~rows.dense_mask(self.device, window)
            nothing = torch.zeros(unseen.shape, dtype=self.dtype, device=self.device)
            return nothing.masked_fill(unseen, torch.finfo(self.dtype).min)

        window = getattr(config, "sliding_window", None)
        if "sliding_attention" in (getattr(config, "layer_types", None) or ()):
            return {"full_attention": additive(None), "sliding_attention": additive(window)}
        return additive(None if getattr(config, "layer_types", None) else window)

    @property
    def arithmetic(self) -> str:
        """What a result's last digits depend on besides the recipe; a resume must not change it unasked."""
        from transformers import __version__

        products = ", products in bfloat16" if self.mixed else ""
        bits = "" if self.repeats else ", bits do not repeat"
        if self.device.type == "cpu":
            device = f"cpu ({torch.backends.cpu.get_cpu_capability()}) and {torch.get_num_threads()} threads"
        else:
            device = torch.cuda.get_device_name(self.device)
        versions = f"torch {torch.__version__}, transformers {__version__}"
        return f"{self.dtype_name} on {device}{products}, attention {self.attention}, {versions}{bits}"

    @contextmanager
    def learning(self, role: str, gradient_checkpointing: bool = False) -> Iterator[None]:
        """Training mode where something asks for it: dropout, or activations computed twice rather than kept."""
        dropout = self.config.lora is not None and self.config.lora.dropout > 0
        with self.model(role) as model:
            if gradient_checkpointing:
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            if dropout or gradient_checkpointing:  # transformers checkpoints activations in training mode only
                model.train()
                _quiet_base(model)
            try:
                yield
            finally:
                model.eval()
                if gradient_checkpointing:
                    model.gradient_checkpointing_disable()

    def lm_head(self, role: str) -> Tensor:
        """The head's weight [V, D] for this role, in the dtype of its products."""
        with self.model(role) as model:
            text = model.config.get_text_config()
            for name, neutral in LOGIT_FACTORS.items():
                if getattr(text, name, neutral) not in (neutral, None):
                    raise ModelError(
                        f"this model rescales its logits ({name}), which the scorer does not know",
                        where=self.location.label,
                        remedy="use a model without it",
                    )
            head = model.get_output_embeddings()
            if getattr(head, "bias", None) is not None:
                raise ModelError(
                    "this model's language-model head has a bias, which the scorer does not know",
                    where=self.location.label,
                    remedy="use a model without it",
                )
            return head.weight.to(torch.bfloat16) if self.mixed else head.weight  # type: ignore[no-any-return]

    @property
    @abstractmethod
    def hidden_size(self) -> int:
        """D."""

    def _read(self, path: str, revision: str | None = None) -> Any:
        label = self.location.label if path == self.location.path else path
        attention = self.config.attn_implementation or "sdpa"
        model = read_model(path, revision, self.config, dtype=self.dtype, attention=attention, label=label)
        model = model.to(self.device).eval()
        norms.fuse(model)
        if self.attention == ragged.NAME:
            ragged.register()
            model.set_attn_implementation(ragged.NAME)
        if self.device.type == "cuda":
            self._repeat_exactly(model)
        self._check(model)
        return model

    @torch.no_grad()
    def _repeat_exactly(self, model: Any) -> None:
        """Have a GPU give the same bits each time, so that a resumed run ends where an unstopped one does."""
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it at its first product
        torch.utils.deterministic.fill_uninitialized_memory = False  # a guard for code that reads what it never wrote
        torch.use_deterministic_algorithms(True)
        rows = Ragged([Group([0, 1], [])])
        try:
            self._trunk(model, rows)
        except RuntimeError as error:
            if "deterministic" not in str(error):
                raise
            # Some layers of experts count in a way that never repeats exactly; attention's backward is then such too.
            torch.use_deterministic_algorithms(True, warn_only=True)
            self.repeats = False
        if self.attention == ragged.NAME:
            self.is_recordable = is_recordable(self._trunk, model, Fixed(rows, self.device))
            self.replays = self.is_recordable and is_recordable(self._trunk, model, Standing(rows, self.device))

    def _check(self, model: Any) -> None:
        """Refuse a model that the scorer would get wrong: rows laid end to end must not see each other."""
        config = model.config.get_text_config()
        one, other, row = (Group([t % config.vocab_size for t in ids], []) for ids in ((5, 6, 7), (8, 9, 4), (10, 11)))
        with torch.no_grad():
            after_one, after_other = (self._states(model, Ragged([first, row]))[3:].float() for first in (one, other))
        if (after_one - after_other).abs().max() > MAX_LEAK * after_one.abs().max():
            found = "layers that carry a state from token to token"
        elif getattr(config, "attn_logit_softcapping", None) is not None:
            found = "soft caps in its attention"
        else:
            return
        raise ModelError(
            f"this architecture has {found}, which the scorer does not know",
            where=self.location.label,
            remedy="use a model of plain attention layers, such as Llama, Qwen2, Qwen3, Mistral, Gemma 3 or SmolLM",
        )


def _quiet_base(model: Any) -> None:
    """Turn the base model's own dropout off again: only LoRA's is the recipe's."""
    for name, module in model.named_modules():
        is_own = isinstance(module, nn.Dropout) and "lora_dropout" not in name
        if is_own or hasattr(module, "attention_dropout"):  # the latter drops by a function, not by a module
            module.training = False
