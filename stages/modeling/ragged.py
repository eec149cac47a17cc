"""Rows of different lengths in one forward without a single padding token, and a common prompt computed once.

All rows lie end to end in one sequence of N tokens; each token attends to its own row alone. Rows that
share a prompt can lie behind one copy of it: prompt, answer, answer, ... (a `Group`); every answer then
sees the prompt and itself. Everything but attention works token by token in the models that backbone.py
lets in, so nothing else has to know.

On a CPU attention goes group by group (`attend`, registered with transformers under NAME); elsewhere one
kernel call with a dense mask does the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from pipeline.errors import ModelError

NAME = "posttune_ragged"


class Layout(Protocol):
    """N tokens of one forward, and which of them attend to which."""

    @property
    def ids_N(self) -> Tensor: ...

    @property
    def positions_N(self) -> Tensor: ...

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Query [1, heads, N, d], key and value of as many heads or a part of them -> [1, heads, N, d]."""


@dataclass(frozen=True)
class Group:
    """A prompt and the answers that share it, as ids. One answer is a plain row; none is a prompt alone."""

    prompt: list[int]
    answers: list[list[int]]

    @property
    def parts(self) -> list[list[int]]:
        return [self.prompt, *self.answers]


@dataclass(frozen=True)
class Ragged:
    """Groups laid end to end: N tokens, all prompts and answers in order."""

    groups: Sequence[Group]

    @cached_property
    def lengths(self) -> list[list[int]]:
        """Tokens of the prompt and of each answer, per group."""
        return [[len(part) for part in group.parts] for group in self.groups]

    @cached_property
    def ids_N(self) -> Tensor:
        return torch.tensor([token for group in self.groups for part in group.parts for token in part])

    @cached_property
    def positions_N(self) -> Tensor:
        """Each answer counts on from the end of its prompt."""
        spans = []
        for prompt, *answers in self.lengths:
            spans += [torch.arange(prompt), *(torch.arange(prompt, prompt + length) for length in answers)]
        return torch.cat(spans)

    @cached_property
    def starts(self) -> list[list[int]]:
        """Where the prompt and each answer begin among the N tokens, per group."""
        starts, at = [], 0
        for lengths in self.lengths:
            own = []
            for length in lengths:
                own.append(at)
                at += length
            starts.append(own)
        return starts

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """Part by part: an answer's queries see its prompt's keys and, causally, its own."""
        num_heads = query.shape[1]
        if key.shape[1] != num_heads:  # grouped queries
            key, value = (x.repeat_interleave(num_heads // x.shape[1], dim=1) for x in (key, value))
        lengths = [length for group in self.lengths for length in group]
        queries, keys, values = (iter(x.split(lengths, dim=2)) for x in (query, key, value))
        outputs = []
        for group in self.lengths:
            prompt_key = prompt_value = None
            for length in group:
                q, k, v = next(queries), next(keys), next(values)
                if prompt_key is None or prompt_value is None:
                    prompt_key, prompt_value, num_seen = k, v, 0
                else:
                    num_seen = prompt_key.shape[2]
                    k, v = torch.cat([prompt_key, k], dim=2), torch.cat([prompt_value, v], dim=2)
                if length:
                    outputs.append(_causal(q, k, v, num_seen, scaling, window))
        return torch.cat(outputs, dim=2)

    def dense_mask(self, device: torch.device, window: int | None = None) -> Tensor:
        """Who may attend to whom, at most `window` positions back, bool [1, 1, N, N]: for kernels with any mask."""
        group_N, part_N = [], []
        for index, lengths in enumerate(self.lengths):
            for part, length in enumerate(lengths):
                group_N += [index] * length
                part_N += [part] * length
        group, part = torch.tensor(group_N, device=device), torch.tensor(part_N, device=device)
        same_row = (group[:, None] == group) & ((part[:, None] == part) | (part == 0))
        allowed = same_row.tril()
        if window is not None:
            position = self.positions_N.to(device)
            allowed &= position[:, None] - position < window
        return allowed[None, None]


def register() -> None:
    """Make NAME known to transformers; harmless when repeated."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    ragged: Layout | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface; query [1, heads, N, d] -> [1, N, heads, d]. Without `ragged` it is sdpa."""
    if ragged is None:
        if attention_mask is not None and attention_mask.shape[-1] == 0:
            raise ModelError(
                "this architecture does not hand the rows' layout to its attention",
                where=type(module).__name__,
                remedy="set model.attn_implementation: sdpa",
            )
        return _sdpa(
            module, query, key, value, attention_mask, scaling=scaling, sliding_window=sliding_window, **kwargs
        )
    layer = getattr(module, "layer_idx", None)
    if layer is None:  # keys and values are kept by it while decoding
        raise ModelError(
            "this architecture does not number its attention layers",
            where=type(module).__name__,
            remedy="set model.attn_implementation: sdpa",
        )
    return ragged.attention(layer, query, key, value, scaling, sliding_window).transpose(1, 2), None


def _causal(
    query: Tensor, key: Tensor, value: Tensor, num_seen: int, scaling: float | None, window: int | None
) -> Tensor:
    """Attention of a part's queries to the `num_seen` keys before it and, causally, to its own."""
    length, total = query.shape[2], key.shape[2]
    if num_seen == 0 and (window is None or total <= window):
        return scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    allowed = torch.ones(length, total, dtype=torch.bool, device=query.device).tril(num_seen)
    if window is not None:
        allowed = allowed.triu(num_seen - window + 1)
    return scaled_dot_product_attention(query, key, value, attn_mask=allowed, scale=scaling)


def _sdpa(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return ALL_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)  # type: ignore[no-any-return]
