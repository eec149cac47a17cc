"""Attention of all parts of a forward in one kernel call on a GPU: FlashAttention (Dao 2023), as torch brings it.

The kernel takes pieces of queries and, for each, a piece of keys of which it is the end; keys that several parts see,
such as a prompt's under its answers, are laid out once for each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

LARGEST_HEAD = 256
# What torch.nn.attention.varlen calls: its own arguments still change from version to version.
_kernel = torch.ops.aten._flash_attention_forward


@dataclass(frozen=True)
class Plan:
    """Where each of P parts begins among the queries and among the keys, both [P + 1], int32."""

    queries_P: Tensor
    keys_P: Tensor
    most_queries: int
    most_keys: int
    seen_M: Tensor | None  # which of the N tokens are the keys, part after part; None: all, in order

    @classmethod
    def of(cls, parts: Sequence[Sequence[range]], device: torch.device) -> Plan:
        """Parts in the order of their tokens: each the stretches of the N tokens that it sees, itself the last."""
        queries, keys = [len(sees[-1]) for sees in parts], [sum(map(len, sees)) for sees in parts]
        seen = None if queries == keys else torch.tensor([t for sees in parts for r in sees for t in r], device=device)
        ends = (torch.tensor([0, *accumulate(x)], dtype=torch.int32, device=device) for x in (queries, keys))
        return cls(*ends, max(queries), max(keys), seen)


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
    if plan.seen_M is not None:
        key_NGd, value_NGd = (x.index_select(0, plan.seen_M) for x in (key_NGd, value_NGd))
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
