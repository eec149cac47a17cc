"""What only a GPU shows: its kernels against float32 on a CPU, replayed passes and steps, and bits that repeat.

POSTTUNE_TEST_GPU=1 .venv/bin/python -m pytest tests/stages/test_gpu.py
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import BASE, make_context, publish_scorer, same_weights, shake
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from pipeline.contract import LoraConfig, ModelConfig
from pipeline.errors import Interrupted
from stages import ppo, sft
from stages.modeling import passes, roles, varlen
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import load_chat
from stages.modeling.ragged import Group, Ragged
from stages.rollout import replay
from stages.rollout.decode import Decoded, decode

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="set POSTTUNE_TEST_GPU=1 where there is a GPU")
OPENING = [*range(20, 30)]
ROWS = Ragged(
    [Group([*OPENING, 5, 6], [[8, 9], [10], [11, 12, 13]]), Group([*OPENING, 14], []), Group(OPENING, [[17]])]
)
PROMPTS = [[5, 6, 7, 8], [9], [5, 6, 7, 8], [10, 11], [9]]


@pytest.fixture(scope="module")
def folder(tiny_tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose heads the fast kernels take, beside a tokenizer."""
    import shutil

    folder = tmp_path_factory.mktemp("gpu") / "model"
    shutil.copytree(tiny_tokenizer, folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=384, hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True, pad_token_id=0, bos_token_id=None,
        eos_token_id=2, initializer_range=0.1,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def opened(folder: Path, dtype: str, *, lora: bool = True) -> Backbone:
    asked: Any = {"dtype": dtype, "lora": LoraConfig(r=4, alpha=8) if lora else None}
    backbone = open_backbone(ModelConfig(model_name_or_path=str(folder), **asked))
    backbone.load("policy", BASE, trainable=True, seed=1)
    shake(backbone, "policy", 2)
    return backbone


def states_and_gradients(backbone: Backbone) -> tuple[Tensor, Tensor]:
    hidden = backbone.hidden("policy", Ragged(ROWS.groups)).float()
    slope = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(0))
    (hidden * slope.to(hidden.device)).sum().backward()
    gradients = [p.grad.flatten().float() for p in backbone.parameters("policy").values() if p.grad is not None]
    return hidden.detach().cpu(), torch.cat(gradients).cpu()


def error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize(
    ("dtype", "lora", "bound"), [("float32", True, 1e-4), ("auto", True, 3e-2), ("auto", False, 3e-2)]
)
def test_states_and_gradients_are_a_cpus(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, lora: bool, bound: float
) -> None:
    on_gpu = opened(folder, dtype, lora=lora)
    found = states_and_gradients(on_gpu)
    with monkeypatch.context() as without:
        without.setattr(torch.cuda, "is_available", lambda: False)
        on_cpu = opened(folder, "float32", lora=lora)
    assert (on_gpu.device.type, on_cpu.device.type) == ("cuda", "cpu")
    for ours, theirs in zip(found, states_and_gradients(on_cpu), strict=True):
        assert error(ours, theirs) < bound


def test_kernel_takes_what_the_model_gives(folder: Path) -> None:
    query = torch.zeros(1, 4, 3, 32, dtype=torch.bfloat16, device="cuda")
    assert varlen.fits(query, query)
    assert not varlen.fits(query.float(), query.float())


@pytest.mark.parametrize("window", [None, 2, 5])
def test_kernel_against_part_by_part(monkeypatch: pytest.MonkeyPatch, window: int | None) -> None:
    torch.manual_seed(0)
    query = torch.randn(1, 4, len(ROWS.ids_N), 32, device="cuda")
    key, value = (torch.randn(1, 2, len(ROWS.ids_N), 32, device="cuda") for _ in range(2))
    halves = [x.bfloat16().requires_grad_() for x in (query, key, value)]
    wholes = [x.detach().float().requires_grad_() for x in halves]
    fast, slow = (Ragged(ROWS.groups).attention(0, *x, None, window) for x in (halves, wholes))
    fast.float().square().sum().backward()
    slow.square().sum().backward()
    assert error(fast.float(), slow) < 1e-2
    for half, whole in zip(halves, wholes, strict=True):
        assert error(half.grad.float(), whole.grad) < 2e-2


def others(shift: int, length: int = 2) -> Ragged:
    """Rows like ROWS, of other tokens and lengths; those of one length are of one kind."""
    groups = [
        Group([*OPENING, *range(30, 30 + length + shift)], [[8, 9], [10 + shift], [11, 12, 13]]),
        Group([*OPENING, 14], []),
        Group(OPENING, [[17, 18]]),
    ]
    return Ragged(groups)


def passed(backbone: Backbone, rows: Ragged, role: str = "policy") -> list[Tensor]:
    """States without a gradient, and states and gradients of twice these rows."""
    with torch.no_grad():
        alone = backbone.hidden(role, rows)
    parameters = backbone.parameters(role).values()
    for parameter in parameters:
        parameter.grad = None
    for _ in range(2):
        states = backbone.hidden(role, rows)
        states.square().sum().backward()
    return [alone, states.detach(), *(p.grad for p in parameters if p.grad is not None)]


@pytest.fixture
def pair(folder: Path) -> tuple[Backbone, Backbone]:
    """Two backbones alike, of which one never records."""
    backbones = opened(folder, "bfloat16"), opened(folder, "bfloat16")
    for backbone in backbones:
        backbone.copy("value", "policy", trainable=True)
        shake(backbone, "value", 5)
    assert all(backbone.replays for backbone in backbones)
    backbones[1].replays = False
    return backbones


def recordings(backbone: Backbone) -> int:
    return sum(found is not None for found in backbone._passes._recorded.values())  # type: ignore[attr-defined]


def test_replayed_passes_give_what_each_pass_alone_gives(pair: tuple[Backbone, Backbone]) -> None:
    """Two roles that learn, sizes that grow and shrink again, and weights that change under the recordings."""
    replaying, plain = pair
    for number, length in enumerate((2, 2, 2, 150, 150, 2, 2, 100, 300, 300, 2, 150)):
        for role in ("policy", "value"):
            found, expected = (passed(backbone, others(number % 4, length), role) for backbone in pair)
            assert all(map(torch.equal, found, expected)) and len(found) == len(expected) > 2
            for backbone in pair:
                shake(backbone, role, number)
    assert recordings(replaying) > 4 and not recordings(plain)


def test_pass_that_waits_for_its_gradient_is_not_written_over(pair: tuple[Backbone, Backbone]) -> None:
    found = []
    for backbone in pair:
        passed(backbone, others(0))
        parameters = list(backbone.parameters("policy").values())
        one, other = backbone.hidden("policy", others(1)), backbone.hidden("policy", others(2))
        with torch.no_grad():
            backbone.hidden("policy", others(3))
        found.append(torch.autograd.grad(one.square().sum() + 3 * other.square().sum(), parameters))
        one = backbone.hidden("policy", others(1))
        del one  # forgotten: nothing waits any more
        assert backbone._passes._waiting() is None  # type: ignore[attr-defined]
    assert all(map(torch.equal, *found))


@pytest.mark.filterwarnings("ignore:the GPU's memory is full")
def test_passes_go_on_when_memory_is_full_in_the_middle_of_a_recording(
    pair: tuple[Backbone, Backbone], monkeypatch: pytest.MonkeyPatch
) -> None:
    replaying, plain = pair
    trunk = replaying._trunk
    passed(replaying, others(0))

    def filling(model: Any, rows: Any) -> Tensor:
        states = trunk(model, rows)
        if torch.cuda.is_current_stream_capturing():
            torch.empty(2**50, dtype=torch.uint8, device="cuda")
        return states

    monkeypatch.setattr(replaying, "_trunk", filling)
    for shift in range(3):
        assert all(map(torch.equal, passed(replaying, others(shift, 150)), passed(plain, others(shift, 150))))
    assert recordings(replaying) == 0
    assert not torch.cuda.is_current_stream_capturing()


def test_pass_that_cannot_be_recorded_is_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that looks at what the GPU has found, from the load on."""
    plain = opened(folder, "bfloat16")
    norm = type(next(module for module in plain._base.modules() if "Norm" in type(module).__name__))  # type: ignore[attr-defined]
    forward = norm.forward

    def looking(self: Any, hidden: Tensor) -> Tensor:
        assert float(hidden.abs().max()) >= 0
        return forward(self, hidden)  # type: ignore[no-any-return]

    monkeypatch.setattr(norm, "forward", looking)
    backbone = opened(folder, "bfloat16")
    assert (plain.replays, plain.is_recordable, backbone.replays, backbone.is_recordable) == (True, True, False, False)
    plain.replays = plain.is_recordable = False  # its layers look too by now
    for _ in range(3):
        assert all(map(torch.equal, passed(backbone, others(0)), passed(plain, others(0))))
    assert answers(backbone) == answers(plain)


def answers(backbone: Backbone, stops: frozenset[int] = frozenset()) -> list[Decoded]:
    draws = torch.rand(len(PROMPTS), 90, generator=torch.Generator().manual_seed(3))
    return decode(backbone, "policy", PROMPTS, draws, stop_ids=stops, max_new_tokens=90, temperature=1.0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_replayed_steps_give_what_each_step_alone_gives(
    folder: Path, monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    """Past the first cache, and with rows that end on the way."""
    backbone = opened(folder, dtype)
    free = answers(backbone)
    stops = frozenset(row.ids[20] for row in free[:4])
    replayed = [free, answers(backbone, stops)]
    monkeypatch.setattr(replay.Steps, "__call__", lambda self, rows: self._backbone.hidden(self._role, rows))
    alone = [answers(backbone), answers(backbone, stops)]
    assert replayed == alone
    assert {len(row.ids) for row in replayed[1]} != {90}


def model_of(folder: Path) -> ModelConfig:
    return ModelConfig(model_name_or_path=str(folder), lora=LoraConfig(r=4, alpha=8))


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with every replayed pass."""
    found: list[int] = []
    replay = passes._Recorded.replay
    monkeypatch.setattr(passes._Recorded, "replay", lambda self, rows: (found.append(1), replay(self, rows))[1])
    return found


def without_recordings(call: Callable[[], Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roles, "is_recordable", lambda *given: False)
        call()


def test_sft_that_is_stopped_ends_with_the_bits_of_one_that_never_records(
    folder: Path, rows: dict[str, Path], tmp_path: Path, replays: list[int]
) -> None:
    config = sft.Config(data=str(rows["instructions"]), num_train_epochs=8, per_device_train_batch_size=2)
    inputs: dict[str, Any] = {"policy": "base", "data": rows["instructions"]}
    one, other = (tmp_path / name / "out" for name in ("one", "other"))
    without_recordings(lambda: sft.run(config, make_context(one, model_of(folder), **inputs)))
    assert not replays
    with pytest.raises(Interrupted):
        sft.run(config, make_context(other, model_of(folder), keep=True, stop=5, **inputs))
    sft.run(config, make_context(other, model_of(folder), keep=True, **inputs))
    assert same_weights(one, other) and replays


def test_ppo_that_is_stopped_ends_with_the_bits_of_one_that_never_records(
    folder: Path, rows: dict[str, Path], tmp_path: Path, replays: list[int]
) -> None:
    model = model_of(folder)
    reward = publish_scorer(model, load_chat(model), tmp_path / "reward")
    inputs: dict[str, Any] = {"policy": "base", "reference": "base", "reward": reward, "data": rows["prompts"]}
    config = ppo.Config(
        data="rows", policy="policy", total_episodes=32, rollout_batch_size=8, num_ppo_epochs=2, max_new_tokens=6,
        per_device_train_batch_size=4, eval_prompts=0, learning_rate=1e-2,
    )  # fmt: skip
    one, other = (tmp_path / name / "out" for name in ("one", "other"))
    without_recordings(lambda: ppo.run(config, make_context(one, model, **inputs)))
    assert not replays
    with pytest.raises(Interrupted):
        ppo.run(config, make_context(other, model, keep=True, stop=9, **inputs))
    ppo.run(config, make_context(other, model, keep=True, **inputs))
    assert same_weights(one, other) and replays
