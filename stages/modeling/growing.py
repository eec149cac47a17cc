"""Rows that grow by a token a step, with the keys and values of what they hold: decoding on the scorer's own path.

Shapes: B rows, S slots of the cache, G key/value heads, d their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from stages.modeling.ragged import Group, Ragged

ROOM = 64  # slots added whenever the cache is full


class Growing:
    """A layout for two kinds of forward: of the prompts, each distinct one once; then of each row's newest token.

    Rows are stored so that all of them end at the same slot: a step writes one slot of [B, G, S, d], and what lies
    before a shorter prompt is hidden by a mask.
    """

    def __init__(self, prompts: Sequence[Sequence[int]]) -> None:
        distinct: dict[tuple[int, ...], int] = {}
        self._prompt_of = [distinct.setdefault(tuple(prompt), len(distinct)) for prompt in prompts]
        self._prompts: Ragged | None = Ragged([Group(list(prompt), []) for prompt in distinct])
        self._lengths_B = torch.tensor([len(prompt) for prompt in prompts])
        self._used = int(self._lengths_B.max())  # slots filled
        self._caches: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: keys and values [B, G, S, d]
        self._mask: dict[int | None, Tensor | None] = {}  # of this step, by window
        self.ids_N, self.positions_N = self._prompts.ids_N, self._prompts.positions_N

    @property
    def last_B(self) -> Tensor:
        """Where, among the tokens of the first forward, each row's prompt ends."""
        assert self._prompts is not None, "only the first forward holds the prompts"
        rows = zip(self._prompt_of, self._lengths_B.tolist(), strict=True)
        return torch.tensor([self._prompts.place(index, length - 1) for index, length in rows])

    def grow(self, ids_B: Tensor) -> Growing:
        """What the next forward reads: one more token in each row."""
        self._prompts = None
        self.ids_N, self.positions_N = ids_B, self._lengths_B
        self._lengths_B = self._lengths_B + 1
        self._used += 1
        self._mask = {}
        return self

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone. Called between two forwards."""
        index = torch.tensor(rows)
        self._lengths_B = self._lengths_B[index]
        # Layer by layer, so that old and new are never both held whole.
        for layer, (keys, values) in self._caches.items():
            self._caches[layer] = keys[index], values[index]

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """As ragged.py's layouts; what is new goes into the cache on the way."""
        if self._prompts is not None:
            self._caches[layer] = self._stored(self._prompts, key), self._stored(self._prompts, value)
            return self._prompts.attention(layer, query, key, value, scaling, window)
        keys, values = (self._with_room(cache) for cache in self._caches[layer])
        self._caches[layer] = keys, values
        for cache, new in ((keys, key), (values, value)):
            cache[:, :, self._used - 1] = new[0].transpose(0, 1)
        (_, num_heads, num_rows, size), num_groups = query.shape, key.shape[1]
        # The queries that share a key head go as rows of one product: no copy of the cache for each.
        grouped = query[0].transpose(0, 1).reshape(num_rows, num_groups, num_heads // num_groups, size)
        seen = slice(0, self._used)
        found = scaled_dot_product_attention(
            grouped, keys[:, :, seen], values[:, :, seen], attn_mask=self._visible(window), scale=scaling
        )
        return found.reshape(1, num_rows, num_heads, -1).transpose(1, 2)

    def _stored(self, prompts: Ragged, new: Tensor) -> Tensor:
        """The prompts' keys or values [1, G, N, d] as the rows' cache; zero where a row holds nothing."""
        _, num_groups, _, size = new.shape
        cache = new.new_zeros(len(self._prompt_of), num_groups, self._used + ROOM, size)
        opening, *parts = new[0].split([prompts.opening, *(length for (length,) in prompts.lengths)], dim=1)
        for row, index in enumerate(self._prompt_of):
            start = self._used - parts[index].shape[1]
            cache[row, :, start : self._used] = parts[index]
            cache[row, :, start - prompts.opening : start] = opening
        return cache

    def _with_room(self, cache: Tensor) -> Tensor:
        if self._used <= cache.shape[2]:
            return cache
        return torch.cat([cache, cache.new_zeros(*cache.shape[:2], ROOM, cache.shape[3])], dim=2)

    def _visible(self, window: int | None) -> Tensor | None:
        """The slots each row may look at, bool [B, 1, 1, S]; None where that is all of them."""
        if window not in self._mask:
            longest = self._lengths_B if window is None else self._lengths_B.clamp(max=window)
            visible = torch.arange(self._used) >= self._used - longest[:, None]
            self._mask[window] = None if visible.all() else visible[:, None, None]
        return self._mask[window]
