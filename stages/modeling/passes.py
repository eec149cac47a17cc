"""Forward and backward passes recorded once and replayed: on a GPU a small model's time goes into starting kernels.

A pass is recorded, as a CUDA graph, when rows of its kind come for the second time. What it is told of its rows lies in
tensors that stay where they are, and its kernels and their sizes are those of a pass that is not recorded, so that no
result depends on which of the two it was.
"""

from __future__ import annotations

import warnings
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
STALE = 1000  # passes after which one that none of them used may make room for another
Trunk = Callable[[nn.Module, Layout], Tensor]  # model, rows -> hidden states [N, D]


@contextmanager
def recording(graph: torch.cuda.CUDAGraph, device: torch.device, label: str, pool: Any = None) -> Iterator[None]:
    """What runs in here is recorded rather than done. ModelError for what waits for a result of the GPU."""
    # The second gives back the present stream, which torch does not where a recording could not be ended.
    with torch.cuda.device(device), torch.cuda.stream(torch.cuda.current_stream()):
        try:
            # Another thread, such as a logger's, may use the GPU meanwhile.
            with torch.cuda.graph(
                graph, pool=pool, stream=torch.cuda.Stream(device), capture_error_mode="thread_local"
            ):
                yield
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if "out of memory" in str(error):
                raise torch.OutOfMemoryError(str(error)) from error
            raise ModelError(
                f"a pass of this model cannot be recorded: {str(error).splitlines()[0]}",
                where=label,
                remedy="set model.attn_implementation: sdpa",
            ) from error


class Passes:
    """The passes of a trunk whose weights change in place, if at all.

    All recordings share their memory. One that is replayed while another waits for its gradient would write over what
    that one keeps for it, so meanwhile passes run unrecorded.
    """

    def __init__(self, device: torch.device, label: str) -> None:
        self._device, self._label = device, label
        self._count = 0  # of passes
        self._recorded: dict[Any, _Recorded | None] = {}  # by kind, the one used last at the end; None: met
        self._out_of_memory = False
        self._pool: Any = None
        self._most_tokens = 0  # of a recorded pass with a gradient
        self._gradients: dict[str, list[Tensor]] = {}  # by role: where backward passes put them
        self._waiting: Callable[[], _Waiting | None] = lambda: None

    def __call__(
        self, trunk: Trunk, model: nn.Module, role: str, rows: Ragged, learnt: Sequence[nn.Parameter]
    ) -> Tensor:
        """The states of the rows, the model being in the role; gradients flow to what is `learnt`, if anything is."""
        self._count += 1
        kind = role, bool(learnt), len(rows.ids_N), rows.plan(self._device).kind
        recorded = self._find(kind, trunk, model, rows, learnt)
        if recorded is None:
            return self._unrecorded(trunk, model, rows)
        recorded.last_used = self._count
        if not learnt:
            return recorded.replay(rows).clone()
        waiting = _Waiting()
        self._waiting = weakref.ref(waiting)
        return _Replayed.apply(recorded, rows, waiting, *learnt)  # type: ignore[no-any-return, no-untyped-call]

    def _find(
        self, kind: tuple[Any, ...], trunk: Trunk, model: nn.Module, rows: Ragged, learnt: Sequence[nn.Parameter]
    ) -> _Recorded | None:
        """The recording of this kind of pass, made now if need be; None where it must, or had better, run by itself."""
        waiting = self._waiting()
        is_known = kind in self._recorded
        found = self._recorded[kind] = self._recorded.pop(kind, None)
        if self._out_of_memory or (waiting is not None and not waiting.done):
            return None
        if found is None and is_known and self._has_room(len(rows.ids_N) if learnt else 0):
            try:
                found = self._recorded[kind] = self._record(trunk, model, kind[0], rows, learnt)
            except torch.OutOfMemoryError:
                self._give_up()
        return found

    def _unrecorded(self, trunk: Trunk, model: nn.Module, rows: Ragged) -> Tensor:
        if not any(self._recorded.values()):
            return trunk(model, rows)
        try:
            return trunk(model, rows)
        except torch.OutOfMemoryError:
            self._give_up()
        return trunk(model, rows)

    def _give_up(self) -> None:
        """Leave the memory that recordings take to what cannot do without."""
        self._out_of_memory = True
        self._recorded, self._gradients, self._pool = {}, {}, None
        torch.cuda.empty_cache()
        warnings.warn("the GPU's memory is full: passes are no longer recorded, and take longer", stacklevel=2)

    def _has_room(self, num_tokens: int) -> bool:
        """Whether another may be recorded. Before the largest so far all others are forgotten, to be recorded anew.

        What the largest keeps for its gradient does not fit into memory cut up for smaller ones. What they keep,
        recorded after it, fits into the largest's.
        """
        if self._pool is None or num_tokens > self._most_tokens:
            self._recorded = dict.fromkeys(self._recorded)
            self._pool, self._most_tokens = torch.cuda.graph_pool_handle(), num_tokens
        recorded = [(kind, found) for kind, found in self._recorded.items() if found is not None]
        if len(recorded) < MOST:
            return True
        kind, oldest = recorded[0]
        if self._count - oldest.last_used <= STALE:
            return False
        del self._recorded[kind]
        return True

    def _record(
        self, trunk: Trunk, model: nn.Module, role: str, rows: Ragged, learnt: Sequence[nn.Parameter]
    ) -> _Recorded:
        own, forward = Standing(rows, self._device), torch.cuda.CUDAGraph()
        with _stand_ins(model, learnt) as leaves:
            with recording(forward, self._device, self._label, self._pool):
                states_ND = trunk(model, own)
            if not learnt:
                return _Recorded(own, forward, states_ND)
            if role not in self._gradients:
                self._gradients[role] = [torch.zeros_like(parameter) for parameter in learnt]
            slope_ND, backward = torch.zeros_like(states_ND), torch.cuda.CUDAGraph()
            with recording(backward, self._device, self._label, self._pool):
                found = torch.autograd.grad(states_ND, leaves, slope_ND, allow_unused=True)
                for kept, new in zip(self._gradients[role], found, strict=True):
                    if new is not None:
                        kept.copy_(new)
        gradients = [kept if new is not None else None for kept, new in zip(self._gradients[role], found, strict=True)]
        return _Recorded(own, forward, states_ND.detach(), backward, slope_ND, gradients)


def is_recordable(trunk: Trunk, model: nn.Module, rows: Fixed) -> bool:
    """Whether a pass waits for nothing that the GPU has found. One has run before, for what is done only once."""
    try:
        with recording(torch.cuda.CUDAGraph(), rows.device, ""):
            trunk(model, rows)
    except ModelError:
        return False
    return True


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


class Fixed:
    """Rows on a device: a recorded pass of them is one of them alone."""

    def __init__(self, rows: Ragged, device: torch.device) -> None:
        self._own, self.device = Ragged(rows.groups, rows.filler), device  # with tensors that nobody else holds
        self.ids_N, self.positions_N = self._own.ids_N.to(device), self._own.positions_N.to(device)
        self._plan = self._own.plan(device)  # made now, since a recording takes nothing from the machine's memory

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        return self._own.attention(layer, query, key, value, scaling, window)


class Standing(Fixed):
    """Rows whose place others of their kind can take: a recorded pass of them is one of those too."""

    def take(self, rows: Ragged) -> None:
        """Become these rows."""
        given = (rows.ids_N, rows.positions_N, *rows.plan(self.device).tensors)
        for own, new in zip((self.ids_N, self.positions_N, *self._plan.tensors), given, strict=True):
            own.copy_(new)

    def attention(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        if not varlen.fits(query, value):
            raise RuntimeError("a layer's attention goes part by part")
        return varlen.attention(self._plan, query, key, value, scaling=scaling, window=window)


@dataclass
class _Recorded:
    """One kind of pass: recordings, and the tensors they read and write."""

    rows: Standing
    forward: torch.cuda.CUDAGraph
    states_ND: Tensor
    backward: torch.cuda.CUDAGraph | None = None
    slope_ND: Tensor | None = None
    gradients: Sequence[Tensor | None] = ()
    last_used: int = 0

    def replay(self, rows: Ragged) -> Tensor:
        """The states, until the next replay."""
        self.rows.take(rows)
        self.forward.replay()
        return self.states_ND

    def replay_backward(self, slope_ND: Tensor) -> Sequence[Tensor | None]:
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
        assert not ctx.waiting.done, "what a second backward pass would need may be written over by now"
        gradients = ctx.recorded.replay_backward(slope_ND)
        ctx.waiting.done = True
        # `.grad` gets copies, for these are held here too; torch.autograd.grad would give the very tensors.
        return None, None, None, *gradients
