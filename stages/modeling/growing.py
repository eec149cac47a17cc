"""Rows that grow by a token a step, with the keys and values of what they hold: decoding on the scorer's own path.

Shapes: B rows, S slots of the cache, G key/value heads, d their size, N tokens of the prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from stages.modeling.ragged import Group, Ragged

ROOM = 64  # slots added whenever the cache is full


class Growing:
    """A layout for two kinds of forward: of the prompts, each distinct one once; then of each row's newest token.

    Rows are stored so that all of them end at the same slot: a step writes one slot of [B, G, S, d], and what lies
    before a shorter prompt is hidden by a mask. All that differs between two steps lies in tensors that stay where
    they are while `storage` does, so that a GPU can replay a step (rollout/replay.py).
    """

    def __init__(self, prompts: Sequence[Sequence[int]], device: torch.device | str = "cpu") -> None:
        distinct: dict[tuple[int, ...], int] = {}
        self._prompt_of = [distinct.setdefault(tuple(prompt), len(distinct)) for prompt in prompts]
        self._prompts: Ragged | None = Ragged([Group(list(prompt), []) for prompt in distinct])
        self.device = torch.device(device)
        self.storage = 0  # counts how often tensors have moved
        self._lengths_B = torch.tensor([len(prompt) for prompt in prompts], device=device)
        self._used = int(self._lengths_B.max())  # slots filled
        self._newest = torch.tensor([self._used - 1], device=device)  # the slot of each row's newest token
        self._slots_S = torch.arange(self._used + ROOM, device=device)
        self._caches: dict[int, tuple[Tensor, Tensor]] = {}  # by layer: keys and values [B, G, S, d]
        self._bias: dict[int | None, Tensor | None] = {}  # of this step, by window
        self.ids_N, self.positions_N = self._prompts.ids_N, self._prompts.positions_N

    @property
    def last_B(self) -> Tensor:
        """Where, among the tokens of the first forward, each row's prompt ends."""
        assert self._prompts is not None, "only the first forward holds the prompts"
        rows = zip(self._prompt_of, self._lengths_B.tolist(), strict=True)
        return torch.tensor([self._prompts.place(index, length - 1) for index, length in rows])

    def grow(self, ids_B: Tensor) -> Growing:
        """What the next forward reads: one more token in each row."""
        if self._prompts is not None:
            self._prompts = None
            self.ids_N, self.positions_N = torch.empty_like(self._lengths_B), torch.empty_like(self._lengths_B)
        if self._used == len(self._slots_S):
            self._make_room()
        self.ids_N.copy_(ids_B)
        self.positions_N.copy_(self._lengths_B)
        self._lengths_B += 1
        self._newest += 1
        self._used += 1
        self._bias = {}
        return self

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these rows alone. Called between two forwards."""
        index = torch.tensor(rows, device=self.device)
        self._lengths_B = self._lengths_B[index]
        if self._prompts is None:
            self.ids_N, self.positions_N = self.ids_N[index], self.positions_N[index]
        # Layer by layer, so that old and new are never both held whole.
        for layer, (keys, values) in self._caches.items():
            self._caches[layer] = keys[index], values[index]
        self.storage += 1

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """As ragged.py's layouts; what is new goes into the cache on the way."""
        if self._prompts is not None:
            self._caches[layer] = self._stored(key), self._stored(value)
            return self._prompts.attention(layer, query, key, value, scaling, window)
        keys, values = self._caches[layer]
        for cache, new in ((keys, key), (values, value)):
            cache.index_copy_(2, self._newest, new[0].transpose(0, 1)[:, :, None])
        (_, num_heads, num_rows, size), num_groups = query.shape, key.shape[1]
        # The queries that share a key head go as rows of one product: no copy of the cache for each.
        grouped = query[0].transpose(0, 1).reshape(num_rows, num_groups, num_heads // num_groups, size)
        bias = self._hiding(window, query.dtype)
        found = scaled_dot_product_attention(
            grouped, keys[:, :, self._seen], values[:, :, self._seen], attn_mask=bias, scale=scaling
        )
        return found.reshape(1, num_rows, num_heads, -1).transpose(1, 2)

    @property
    def _seen(self) -> slice:
        """The slots that a step reads. A GPU reads the empty ones too: a replayed step has one shape."""
        return slice(0, self._used) if self.device.type == "cpu" else slice(None)

    def _stored(self, new: Tensor) -> Tensor:
        """The prompts' keys or values [1, G, N, d] as the rows' cache; zero where a row holds nothing."""
        _, num_groups, _, size = new.shape
        cache = new.new_zeros(len(self._prompt_of), num_groups, len(self._slots_S), size)
        with_nothing = pad(new[0], (0, 0, 0, 1))
        found = with_nothing.index_select(1, self._sources)
        cache[:, :, : self._used] = found.view(num_groups, -1, self._used, size).transpose(0, 1)
        return cache

    @cached_property
    def _sources(self) -> Tensor:
        """Which of the N tokens goes into which slot, row by row; N where none does."""
        prompts = self._prompts
        assert prompts is not None, "asked for while the prompts are read"
        sources = []
        for index in self._prompt_of:
            places = [prompts.place(index, token) for token in range(len(prompts.groups[index].prompt))]
            sources += [len(prompts.ids_N)] * (self._used - len(places)) + places
        return torch.tensor(sources, device=self.device)

    def _make_room(self) -> None:
        self._slots_S = torch.arange(self._used + ROOM, device=self.device)
        for layer, caches in self._caches.items():
            keys, values = (pad(cache, (0, 0, 0, ROOM)) for cache in caches)
            self._caches[layer] = keys, values
        self.storage += 1

    def _hiding(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """What attention adds to each row's scores, [B, 1, 1, slots]; None where nothing is hidden."""
        if window not in self._bias:
            longest_B = self._lengths_B if window is None else self._lengths_B.clamp(max=window)
            age_S = self._newest - self._slots_S[self._seen]
            visible_BS = (age_S >= 0) & (age_S < longest_B[:, None])
            # Whether all are visible is not asked of a GPU, which would have to stop for it.
            if self.device.type == "cpu" and visible_BS.all():
                self._bias[window] = None
            else:
                nothing = torch.zeros(visible_BS.shape, dtype=dtype, device=self.device)
                self._bias[window] = nothing.masked_fill(~visible_BS, -torch.inf)[:, None, None]
        return self._bias[window]
