"""Attention of all parts of a forward in one kernel call on a GPU: FlashAttention (Dao 2023), as torch brings it.

The kernel takes pieces of queries and, for each, a piece of keys of which it is the end; keys that several parts see,
such as a prompt's under its answers, are laid out once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LARGEST_HEAD = 256
# What sizes are rounded up to. Tokens: a GPU's library looks for a way to multiply at each new size.
TOKENS_MULTIPLE, PARTS_MULTIPLE, COPIES_MULTIPLE = 128, 8, 4
# What torch.nn.attention.varlen calls: its own arguments still change from version to version.
_kernel = torch.ops.aten._flash_attention_forward


def coarse(count: int, least: int) -> int:
    """A step of a sixteenth to an eighth of the count, at least `least`: of its multiples few are met, and again."""
    return max(least, 1 << max(count.bit_length() - 4, 0))


def roomy(count: int, least: int) -> int:
    """The count rounded up to a multiple of its coarse step."""
    return -(-count // coarse(count, least)) * coarse(count, least)


@dataclass(frozen=True)
class Plan:
    """Where each of P parts begins among the queries and among the keys, both [P + 1], int32; M keys in all.

    Behind the last part lie parts without tokens, and keys of no part (the first token again and again): so that plans
    of like rows are of one `kind`. The kernel gives such keys no gradient, and what lies there must not be read.
    """

    queries_P: Tensor
    keys_P: Tensor
    most_queries: int  # of a part, or a few more
    most_keys: int
    seen: Seen | None  # None: each part sees itself alone, so that the keys are the N tokens in order

    @classmethod
    def of(cls, parts: Sequence[Sequence[range]], device: torch.device) -> Plan:
        """Parts in the order of their tokens: each the stretches of the N tokens that it sees, itself the last."""
        queries, keys = [len(sees[-1]) for sees in parts], [sum(map(len, sees)) for sees in parts]
        empty = [0] * (roomy(len(parts), PARTS_MULTIPLE) - len(parts))
        starts = (torch.tensor([0, *accumulate(x + empty)], dtype=torch.int32, device=device) for x in (queries, keys))
        seen = None if queries == keys else Seen.of(parts, device)
        return cls(*starts, roomy(max(queries), TOKENS_MULTIPLE), roomy(max(keys), TOKENS_MULTIPLE), seen)

    @property
    def tensors(self) -> list[Tensor]:
        """All that differs between two plans of one kind."""
        seen = [] if self.seen is None else [self.seen.tokens_M, self.seen.own_N, *self.seen.copies]
        return [self.queries_P, self.keys_P, *seen]

    @property
    def kind(self) -> tuple[Any, ...]:
        return self.most_queries, self.most_keys, *(tuple(tensor.shape) for tensor in self.tensors)


@dataclass(frozen=True)
class Seen:
    """Which of the N tokens are the keys, part after part, and where each token lies among them.

    `copies` tells, for the first T tokens, where the C copies beyond their own lie, [C, T]; M for one that is none.
    """

    tokens_M: Tensor
    own_N: Tensor
    copies: Sequence[Tensor]

    @classmethod
    def of(cls, parts: Sequence[Sequence[range]], device: torch.device) -> Seen:
        tokens: list[int] = []
        own: list[int] = []
        starts: dict[range, list[int]] = {}  # of a stretch's copies
        for sees in parts:
            for stretch in sees:
                if stretch is sees[-1]:
                    own += range(len(tokens), len(tokens) + len(stretch))
                else:
                    starts.setdefault(stretch, []).append(len(tokens))
                tokens += stretch
        tokens += [0] * (roomy(len(tokens), TOKENS_MULTIPLE) - len(tokens))
        # The opening has a copy for nearly every part, a prompt one for each of its answers: each kind by itself.
        openings, prompts = ({s: starts[s] for s in starts if (s.start == 0) == first} for first in (True, False))
        copies = [_copies(kind, len(own), len(tokens)) for kind in (openings, prompts) if kind]
        found = (torch.tensor(x, device=device) for x in (tokens, own))
        return cls(*found, [x.to(device) for x in copies])


def _copies(starts: dict[range, list[int]], num_tokens: int, nowhere: int) -> Tensor:
    reach = min(roomy(max(s.stop for s in starts), TOKENS_MULTIPLE), num_tokens)
    places = torch.full((roomy(max(map(len, starts.values())), COPIES_MULTIPLE), reach), nowhere)
    for stretch, found in starts.items():
        places[: len(found), stretch.start : stretch.stop] = torch.tensor(found)[:, None] + torch.arange(len(stretch))
    return places


class _Lay(torch.autograd.Function):
    """x [N, ...] -> x[tokens_M]. Its gradient adds up the copies in one order: index_add has none, or must sort."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seen: Seen) -> Tensor:
        ctx.seen = seen
        return x.index_select(0, seen.tokens_M)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        found = grad.index_select(0, ctx.seen.own_N)
        padded = torch.cat([grad, grad.new_zeros(1, *grad.shape[1:])])
        for places_CT in ctx.seen.copies:
            found[: places_CT.shape[1]] += padded[places_CT].sum(0)
        return found, None


def fits(query: Tensor, value: Tensor) -> bool:
    """Whether the kernel takes such tensors here."""
    return (
        query.device.type == "cuda"
        and torch.version.hip is None
        and query.dtype in (torch.bfloat16, torch.float16)
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and query.shape[-1] == value.shape[-1] <= LARGEST_HEAD
        and query.shape[-1] % 8 == 0
    )


def attention(
    plan: Plan, query: Tensor, key: Tensor, value: Tensor, *, scaling: float | None, window: int | None
) -> Tensor:
    """Query [1, H, N, d], key and value [1, G, N, d] -> [1, H, N, d]."""
    query_NHd, key_NGd, value_NGd = (x[0].transpose(0, 1) for x in (query, key, value))
    if plan.seen is not None:
        both = _Lay.apply(torch.stack([key_NGd, value_NGd], 1), plan.seen)  # type: ignore[no-untyped-call]
        key_NGd, value_NGd = both.unbind(1)
    found_NHd, *_ = _kernel(
        query_NHd,
        key_NGd,
        value_NGd,
        plan.queries_P,
        plan.keys_P,
        plan.most_queries,
        plan.most_keys,
        0.0,  # dropout
        True,  # causal
        False,  # no mask to debug
        scale=scaling,
        window_size_left=None if window is None else window - 1,
        window_size_right=None if window is None else 0,
    )
    return found_NHd.transpose(0, 1)[None]
