"""Rows of different lengths in one forward without a single padding token, and a common prompt computed once.

All rows lie end to end in one sequence of N tokens; each token attends to its own row alone. Rows that
share a prompt can lie behind one copy of it: prompt, answer, answer, ... (a `Group`); every answer then
sees the prompt and itself. And what all prompts of a forward begin with, such as a system prompt, lies
before them all, once (`opening`). Everything but attention works token by token in the models that
backbone.py lets in, so nothing else has to know.

Attention (`attend`, registered with transformers under NAME) goes part by part, or on a GPU in one kernel call for
all parts; transformers' own with a dense mask does the same, for more work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.errors import ModelError
from stages.modeling import varlen
from stages.modeling.attention import causal

NAME = "posttune_ragged"
MIN_OPENING = 8  # tokens; computing fewer again costs less than looking back at them


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


@dataclass(frozen=True)
class Ragged:
    """N tokens: what all prompts begin with, then each group's rest of its prompt and its answers, in order.

    `filler` tokens that nobody reads may follow them, where hardware is faster with sizes it has met before.
    """

    groups: Sequence[Group]
    filler: int = 0

    @cached_property
    def opening(self) -> int:
        """How many tokens that all prompts begin with are laid before them."""
        prompts = [group.prompt for group in self.groups]
        least, greatest = min(prompts), max(prompts)  # in dictionary order: what they share, all share
        unlike = (i for i, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b)
        shared = next(unlike, min(len(least), len(greatest)))
        return shared if len(prompts) > 1 and shared >= MIN_OPENING else 0

    @cached_property
    def lengths(self) -> list[list[int]]:
        """Tokens of the prompt behind the opening, and of each answer, per group."""
        return [[len(g.prompt) - self.opening, *(len(answer) for answer in g.answers)] for g in self.groups]

    @cached_property
    def ids_N(self) -> Tensor:
        ids = list(self.groups[0].prompt[: self.opening])
        for group in self.groups:
            ids += group.prompt[self.opening :]
            for answer in group.answers:
                ids += answer
        return torch.tensor(ids + [0] * self.filler)

    @cached_property
    def positions_N(self) -> Tensor:
        """Each prompt counts on from the opening, each answer from the end of its prompt."""
        spans = [torch.arange(self.opening)]
        for prompt, *answers in self.lengths:
            end = self.opening + prompt
            spans += [torch.arange(self.opening, end), *(torch.arange(end, end + length) for length in answers)]
        return torch.cat([*spans, torch.arange(self.filler)])

    def filled(self, step: int) -> Ragged:
        """The same with as much filler as makes N a multiple of `step`."""
        if step not in self._filled:
            own = self.opening + sum(map(sum, self.lengths))
            self._filled[step] = replace(self, filler=-own % step)
        return self._filled[step]

    @cached_property
    def _filled(self) -> dict[int, Ragged]:
        """By the step: rows that are read by several roles need not be laid out for each."""
        return {}

    @cached_property
    def starts(self) -> list[list[int]]:
        """Where the prompt, behind the opening, and each answer begin among the N tokens, per group."""
        starts, at = [], self.opening
        for lengths in self.lengths:
            own = []
            for length in lengths:
                own.append(at)
                at += length
            starts.append(own)
        return starts

    def place(self, group: int, token: int) -> int:
        """Where a token of a group's prompt lies among the N."""
        return token if token < self.opening else self.starts[group][0] + token - self.opening

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """A prompt sees the opening and, causally, itself; an answer its whole prompt and itself."""
        if varlen.fits(query, value):
            return varlen.attention(self.plan(query.device), query, key, value, scaling=scaling, window=window)
        queries, keys, values = (x.split(self._pieces, dim=2) for x in (query, key, value))
        outputs = []
        for sees in self._parts:
            k, v = (x[sees[-1]] if len(sees) == 1 else torch.cat([x[i] for i in sees], dim=2) for x in (keys, values))
            outputs.append(causal(queries[sees[-1]], k, v, scaling=scaling, window=window, biases=self._biases))
        return torch.cat(outputs, dim=2)

    @cached_property
    def _pieces(self) -> list[int]:
        """Tokens of the opening, each group's prompt and answers, and filler; a prompt with one answer is one piece."""
        groups = (lengths if len(lengths) > 2 else [sum(lengths)] for lengths in self.lengths)
        return [self.opening, *chain.from_iterable(groups), self.filler]

    @cached_property
    def _parts(self) -> list[list[int]]:
        """For each piece that holds tokens, those it sees: the opening, its prompt, itself."""
        parts, at = [[0]], 1
        for _, *answers in self.lengths:
            behind = range(at + 1, at + 1 + len(answers)) if len(answers) > 1 else ()
            parts += [[0, at], *([0, at, piece] for piece in behind)]
            at += 1 + len(behind)
        parts.append([at])
        return [[i for i in sees if self._pieces[i]] for sees in parts if self._pieces[sees[-1]]]

    def plan(self, device: torch.device) -> varlen.Plan:
        """What the one kernel call is told: every layer wants the same."""
        if device not in self._plans:
            starts = [0, *accumulate(self._pieces)]
            stretches = [[range(starts[i], starts[i + 1]) for i in sees] for sees in self._parts]
            self._plans[device] = varlen.Plan.of(stretches, device)
        return self._plans[device]

    @cached_property
    def _plans(self) -> dict[torch.device, varlen.Plan]:
        return {}

    @cached_property
    def _biases(self) -> dict[Any, Tensor]:
        """What attention adds to the scores of each part, by its size: every layer wants the same."""
        return {}

    def dense_mask(self, device: torch.device, window: int | None = None) -> Tensor:
        """Who may attend to whom, at most `window` positions back, bool [1, 1, N, N]: for kernels with any mask."""
        group_N, part_N = [-1] * self.opening, [0] * self.opening
        for index, lengths in enumerate(self.lengths):
            for part, length in enumerate(lengths):
                group_N += [index] * length
                part_N += [part] * length
        group_N, part_N = group_N + [len(self.groups)] * self.filler, part_N + [0] * self.filler
        group, part = torch.tensor(group_N, device=device), torch.tensor(part_N, device=device)
        same_row = (group[:, None] == group) & ((part[:, None] == part) | (part == 0))
        allowed = ((group == -1) | same_row).tril()
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
    query, key = query.to(value.dtype), key.to(value.dtype)  # rotated in float32 where products are bfloat16's
    return ragged.attention(layer, query, key, value, scaling, sliding_window).transpose(1, 2), None


def _sdpa(*args: Any, **kwargs: Any) -> tuple[Tensor, None]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return ALL_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)  # type: ignore[no-any-return]
