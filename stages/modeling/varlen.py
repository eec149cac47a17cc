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
# What torch.nn.attention.varlen calls: its own arguments still change from version to version.
_kernel = torch.ops.aten._flash_attention_forward


@dataclass(frozen=True)
class Plan:
    """Where each of P parts begins among the queries and among the keys, both [P + 1], int32; M keys in all."""

    queries_P: Tensor
    keys_P: Tensor
    most_queries: int
    most_keys: int
    seen: Seen | None  # None: each part sees itself alone, so that the keys are the N tokens in order

    @classmethod
    def of(cls, parts: Sequence[Sequence[range]], device: torch.device) -> Plan:
        """Parts in the order of their tokens: each the stretches of the N tokens that it sees, itself the last."""
        queries, keys = [len(sees[-1]) for sees in parts], [sum(map(len, sees)) for sees in parts]
        ends = (torch.tensor([0, *accumulate(x)], dtype=torch.int32, device=device) for x in (queries, keys))
        seen = None if queries == keys else Seen.of(parts, device)
        return cls(*ends, max(queries), max(keys), seen)


@dataclass(frozen=True)
class Seen:
    """Which of the N tokens are the keys, part after part, and where each token lies among them.

    `copies` tells, of the T tokens of a range, where the C copies beyond their own lie, [C, T]; M for one that is none.
    """

    tokens_M: Tensor
    own_N: Tensor
    copies: Sequence[tuple[range, Tensor]]

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
        # The opening has a copy for nearly every part, a prompt one for each of its answers: each kind by itself.
        kinds = [[s for s in starts if s.start == 0], [s for s in starts if s.start > 0]]
        copies = [_copies({s: starts[s] for s in kind}, len(tokens), device) for kind in kinds if kind]
        return cls(torch.tensor(tokens, device=device), torch.tensor(own, device=device), copies)


def _copies(starts: dict[range, list[int]], nowhere: int, device: torch.device) -> tuple[range, Tensor]:
    tokens = range(min(s.start for s in starts), max(s.stop for s in starts))
    places = torch.full((max(map(len, starts.values())), len(tokens)), nowhere)
    for stretch, found in starts.items():
        here = slice(stretch.start - tokens.start, stretch.stop - tokens.start)
        places[: len(found), here] = torch.tensor(found)[:, None] + torch.arange(len(stretch))
    return tokens, places.to(device)


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
        for tokens, places_CT in ctx.seen.copies:
            found[tokens.start : tokens.stop] += padded[places_CT].sum(0)
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
