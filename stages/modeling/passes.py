"""Forward and backward passes recorded once and replayed: on a GPU a small model's time goes into starting kernels.

A pass is recorded, as a CUDA graph, when rows of its kind come for the second time. What it is told of its rows lies in
tensors that stay where they are, and its kernels and their sizes are those of a pass that is not recorded, so that no
result depends on which of the two it was.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pipeline.errors import ModelError
from stages.modeling import varlen
from stages.modeling.ragged import Layout, Ragged

MOST = 64  # recordings: one of 24 layers, backward included, takes 35 MB of a GPU's memory and 30 of the machine's
Trunk = Callable[[Any, Layout], Tensor]  # model, rows -> hidden states [N, D]


@contextmanager
def recording(graph: torch.cuda.CUDAGraph, label: str, pool: Any = None) -> Iterator[None]:
    """What runs in here is recorded rather than done. ModelError for what waits for a result of the GPU."""
    try:
        # Another thread, such as a logger's, may use the GPU meanwhile.
        with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
            yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelError(
            f"this architecture's passes cannot be recorded: {str(error).splitlines()[0]}",
            where=label,
            remedy="set model.attn_implementation: sdpa",
        ) from error


class Passes:
    """The passes of a trunk whose weights change in place, if at all.

    All recordings share their memory. One that is replayed while another waits for its gradient would write over what
    that one keeps for it, so meanwhile passes run unrecorded.
    """

    def __init__(self, trunk: Trunk, label: str) -> None:
        self._trunk, self._label = trunk, label
        self._recorded: dict[Any, _Recorded | None] = {}  # by kind; None: met, and not recorded yet
        self._full = False  # memory was
        self._pool: Any = None
        self._most_tokens = 0  # of a recording there that keeps something for a gradient
        self._gradients: dict[str, list[Tensor]] = {}  # by role: where backward passes put them
        self._waiting: Callable[[], _Waiting | None] = lambda: None

    def __call__(
        self, model: nn.Module, role: str, rows: Ragged, device: torch.device, learnt: Sequence[nn.Parameter]
    ) -> Tensor:
        """The states of the rows, the model being in the role; gradients flow to what is `learnt`, if anything is."""
        waiting = self._waiting()
        kind = role, bool(learnt), len(rows.ids_N), rows.plan(device).kind
        if self._full or (waiting is not None and not waiting.done) or kind not in self._recorded:
            self._recorded.setdefault(kind)
            return self._trunk(model, rows)
        recorded = self._recorded[kind] = self._recorded.pop(kind)  # the one used last stands last
        if recorded is None:
            try:
                recorded = self._recorded[kind] = self._record(model, role, _Standing(rows, device), learnt)
            except torch.OutOfMemoryError:  # what is left of it is worth more than time
                self._full, self._recorded = True, {}
                return self._trunk(model, rows)
        if not learnt:
            return recorded.replay(rows).clone()
        waiting = _Waiting()
        self._waiting = weakref.ref(waiting)
        return _Replayed.apply(recorded, rows, waiting, *learnt)  # type: ignore[no-any-return, no-untyped-call]

    def _make_room(self, num_tokens: int) -> None:
        """Of too many recordings forget the one used longest ago; before the largest, all, to be recorded behind it.

        What it keeps for its gradient does not fit where smaller ones keep theirs, but theirs will fit into its place.
        """
        recorded = [kind for kind, found in self._recorded.items() if found is not None]
        if self._pool is None or num_tokens > self._most_tokens:
            self._recorded = dict.fromkeys(self._recorded)
            self._pool, self._most_tokens = torch.cuda.graph_pool_handle(), num_tokens
        elif len(recorded) >= MOST:
            del self._recorded[recorded[0]]

    def _record(self, model: nn.Module, role: str, rows: _Standing, learnt: Sequence[nn.Parameter]) -> _Recorded:
        self._make_room(len(rows.ids_N) if learnt else 0)
        forward, backward = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with _stand_ins(model, learnt) as leaves:
            with recording(forward, self._label, self._pool):
                states_ND = self._trunk(model, rows)
            if not learnt:
                return _Recorded(rows, forward, states_ND)
            if role not in self._gradients:
                self._gradients[role] = [torch.zeros_like(parameter) for parameter in learnt]
            slope_ND = torch.zeros_like(states_ND)
            with recording(backward, self._label, self._pool):
                found = torch.autograd.grad(states_ND, leaves, slope_ND)
                for own, new in zip(self._gradients[role], found, strict=True):
                    own.copy_(new)
        return _Recorded(rows, forward, states_ND.detach(), backward, slope_ND, self._gradients[role])


@contextmanager
def _stand_ins(model: nn.Module, learnt: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Other parameters, of the same memory, in the places of those learnt.

    Autograd keeps a parameter on the stream where the oldest graph that is still alive first met it, and a recording
    has a stream of its own.
    """
    new = {parameter: nn.Parameter(parameter.detach()) for parameter in learnt}
    places = [
        (module, name, parameter)
        for module in (model.modules() if learnt else ())
        for name, parameter in module.named_parameters(recurse=False)
        if parameter in new
    ]
    for module, name, parameter in places:
        setattr(module, name, new[parameter])
    try:
        yield [new[parameter] for parameter in learnt]
    finally:
        for module, name, parameter in places:
            setattr(module, name, parameter)


class _Standing:
    """A layout that takes the place of any other of its kind."""

    def __init__(self, rows: Ragged, device: torch.device) -> None:
        own = Ragged(rows.groups, rows.filler)  # with tensors that nobody else holds
        self.ids_N, self.positions_N = own.ids_N.to(device), own.positions_N.to(device)
        self._plan, self._device = own.plan(device), device

    def take(self, rows: Ragged) -> None:
        given = (rows.ids_N, rows.positions_N, *rows.plan(self._device).tensors)
        for own, new in zip((self.ids_N, self.positions_N, *self._plan.tensors), given, strict=True):
            own.copy_(new)

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        if not varlen.fits(query, value):
            raise RuntimeError("its layers' attention is not of one kind")
        return varlen.attention(self._plan, query, key, value, scaling=scaling, window=window)


@dataclass(frozen=True)
class _Recorded:
    """One kind of pass: recordings, and the tensors they read and write."""

    rows: _Standing
    forward: torch.cuda.CUDAGraph
    states_ND: Tensor
    backward: torch.cuda.CUDAGraph | None = None
    slope_ND: Tensor | None = None
    gradients: Sequence[Tensor] = ()

    def replay(self, rows: Ragged) -> Tensor:
        """The states, until the next replay."""
        self.rows.take(rows)
        self.forward.replay()
        return self.states_ND

    def replay_backward(self, slope_ND: Tensor) -> Sequence[Tensor]:
        """The gradients, until the next."""
        assert self.backward is not None and self.slope_ND is not None, "recorded where something is learnt"
        self.slope_ND.copy_(slope_ND)
        self.backward.replay()
        return self.gradients


class _Waiting:
    """For a gradient: until it comes, or the states it would come for are forgotten."""

    done = False


class _Replayed(torch.autograd.Function):
    """The states as a function of what is learnt."""

    @staticmethod
    def forward(ctx: Any, recorded: _Recorded, rows: Ragged, waiting: _Waiting, *learnt: Tensor) -> Tensor:
        ctx.recorded, ctx.waiting = recorded, waiting
        return recorded.replay(rows).clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_ND: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.recorded.replay_backward(slope_ND)
        ctx.waiting.done = True
        return None, None, None, *gradients  # autograd copies them: they are held here too
