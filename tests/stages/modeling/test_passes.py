"""When passes are recorded and what is forgotten, with recordings that do nothing; test_gpu.py has real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from stages.modeling import passes
from stages.modeling.passes import Fixed, Passes, is_recordable, recording
from stages.modeling.ragged import Group, Layout, Ragged

CPU = torch.device("cpu")


class Graph:
    def replay(self) -> None:
        pass


class Counting:
    """Passes over a model of one weight, and how many tokens each pass that was not replayed had."""

    def __init__(self) -> None:
        self.model = nn.Linear(1, 1, bias=False)
        self.ran: list[int] = []
        self.fails = 0  # passes yet to come that find no memory
        self._passes = Passes(CPU, "model")

    def _trunk(self, model: nn.Module, rows: Layout) -> Tensor:
        self.ran.append(len(rows.ids_N))
        if self.fails:
            self.fails -= 1
            raise torch.OutOfMemoryError("full")
        return model(rows.ids_N[:, None].float())  # type: ignore[no-any-return]

    def __call__(self, num_tokens: int, role: str = "policy", *, learns: bool = True) -> Tensor:
        rows = Ragged([Group([1] * num_tokens, [])]).filled(128)
        return self._passes(self._trunk, self.model, role, rows, [self.model.weight] if learns else [])

    def new(self, call: Callable[[], Any]) -> int:
        """How many passes that ran."""
        before = len(self.ran)
        call()
        return len(self.ran) - before


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    for name in ("device", "stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, lambda *given, **named: nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    for name in ("graph_pool_handle", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, object)
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    return Counting()


def test_second_pass_of_a_kind_is_recorded_and_later_ones_replayed(counting: Counting) -> None:
    assert [counting.new(lambda n=n: counting(n)) for n in (100, 120, 90, 128)] == [1, 1, 0, 0]
    assert counting.new(lambda: counting(100, learns=False)) == 1
    assert counting.new(lambda: counting(100, "value")) == 1


def test_pass_runs_unrecorded_while_another_waits_for_its_gradient(counting: Counting) -> None:
    for _ in range(2):
        counting(100)
    states = counting(100)
    assert counting.new(lambda: counting(100)) == counting.new(lambda: counting(100, learns=False)) == 1
    states.sum().backward()  # type: ignore[no-untyped-call]
    assert counting.new(lambda: counting(100)) == 0


def test_pass_whose_states_are_forgotten_waits_no_longer(counting: Counting) -> None:
    for _ in range(2):
        counting(100)
    states = counting(100)
    del states
    assert counting.new(lambda: counting(100)) == 0


def test_smaller_passes_are_recorded_anew_behind_a_larger_one(counting: Counting) -> None:
    for num_tokens in (100, 100, 300, 300):
        counting(num_tokens)
    assert [counting.new(lambda n=n: counting(n)) for n in (300, 100, 100, 300)] == [0, 1, 0, 0]
    for _ in range(2):
        counting(500, learns=False)  # keeps nothing: the others stay
    assert [counting.new(lambda n=n: counting(n)) for n in (300, 100)] == [0, 0]


def test_recording_long_unused_makes_room_for_another(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "MOST", 2)
    monkeypatch.setattr(passes, "STALE", 5)
    for num_tokens in (500, 500, 300, 300, 100, 100):
        counting(num_tokens)
    assert [counting.new(lambda n=n: counting(n)) for n in (100, 500, 300)] == [1, 0, 0]  # both are in use
    for _ in range(4):
        counting(300)
    assert [counting.new(lambda n=n: counting(n)) for n in (100, 100, 300, 500)] == [1, 0, 0, 1]


@contextmanager
def full(*given: Any, **named: Any) -> Iterator[None]:
    raise torch.OutOfMemoryError("full")
    yield


@pytest.mark.filterwarnings("ignore:the GPU's memory is full")
def test_nothing_is_recorded_any_more_once_memory_was_full(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    counting(100)
    with monkeypatch.context() as once:
        once.setattr(torch.cuda, "graph", full)
        with pytest.warns(UserWarning, match="passes are no longer recorded"):
            counting(100)
    assert [counting.new(lambda: counting(100)) for _ in range(3)] == [1, 1, 1]


def test_recordings_give_way_to_a_pass_that_finds_no_memory(counting: Counting) -> None:
    for _ in range(2):
        counting(100)
    counting.fails = 1
    with pytest.warns(UserWarning, match="passes are no longer recorded"):
        assert counting.new(lambda: counting(300)) == 2
    assert counting.new(lambda: counting(100)) == 1


def test_second_backward_pass_is_refused(counting: Counting) -> None:
    for _ in range(2):
        counting(100)
    loss = counting(100).sum()
    loss.backward(retain_graph=True)  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError, match="second backward"):
        loss.backward()  # type: ignore[no-untyped-call]


def test_whether_a_pass_can_be_recorded_is_found_by_trying(counting: Counting) -> None:
    rows = Fixed(Ragged([Group([1, 2], [])]), CPU)

    def waits(model: nn.Module, rows: Layout) -> Tensor:
        raise RuntimeError("operation not permitted when stream is capturing")

    assert is_recordable(counting._trunk, counting.model, rows)
    assert not is_recordable(waits, counting.model, rows)


def test_learnt_parameters_are_back_in_their_places_after_a_recording(counting: Counting) -> None:
    own = counting.model.weight
    for _ in range(3):
        counting(100)
    assert counting.model.weight is own


def test_what_cannot_be_recorded_is_named_with_a_way_out(counting: Counting) -> None:
    told = r"cannot be recorded: it waits\s.*attn_implementation: sdpa"
    with pytest.raises(ModelError, match=told), recording(torch.cuda.CUDAGraph(), CPU, "model"):
        raise RuntimeError("it waits\nfor a result")
