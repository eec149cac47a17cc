"""When passes are recorded and what is forgotten, with recordings that do nothing; test_gpu.py has real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.errors import ModelError
from stages.modeling import passes
from stages.modeling.passes import Passes, recording
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
        self._passes = Passes(self._trunk, "model")

    def _trunk(self, model: nn.Module, rows: Layout) -> Tensor:
        self.ran.append(len(rows.ids_N))
        return model(rows.ids_N[:, None].float())  # type: ignore[no-any-return]

    def __call__(self, num_tokens: int, role: str = "policy", *, learns: bool = True) -> Tensor:
        rows = Ragged([Group([1] * num_tokens, [])]).filled
        return self._passes(self.model, role, rows, CPU, [self.model.weight] if learns else [])

    def new(self, call: Callable[[], Any]) -> int:
        """How many passes that ran."""
        before = len(self.ran)
        call()
        return len(self.ran) - before


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    @contextmanager
    def graph(*given: Any, **named: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
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


def test_recording_used_longest_ago_is_forgotten_when_there_are_too_many(
    counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "MOST", 2)
    for num_tokens in (500, 500, 300, 300, 500, 100, 100):
        counting(num_tokens)
    assert [counting.new(lambda n=n: counting(n)) for n in (500, 100, 300)] == [0, 0, 1]


def test_nothing_is_recorded_any_more_once_memory_was_full(counting: Counting, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(*given: Any, **named: Any) -> Iterator[None]:
        raise torch.OutOfMemoryError("full")
        yield

    monkeypatch.setattr(torch.cuda, "graph", full)
    assert [counting.new(lambda: counting(100)) for _ in range(4)] == [1, 1, 1, 1]


def test_learnt_parameters_are_back_in_their_places_after_a_recording(counting: Counting) -> None:
    own = counting.model.weight
    for _ in range(3):
        counting(100)
    assert counting.model.weight is own


def test_what_cannot_be_recorded_is_named_with_a_way_out(counting: Counting) -> None:
    told = r"cannot be recorded: it waits\s.*attn_implementation: sdpa"
    with pytest.raises(ModelError, match=told), recording(torch.cuda.CUDAGraph(), "model"):
        raise RuntimeError("it waits\nfor a result")
