"""Completions: plain sampling, reproducible by seed and purpose, cut at the first stop token."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import BASE
from transformers import AutoModelForCausalLM

from pipeline.contract import Artifact
from stages.modeling.backbone import Backbone, SharedBackbone
from stages.modeling.chat import Chat
from stages.rollout.generate import _cut, generate

PROMPTS = [[5, 6, 7, 8], [9], [10, 11], [12, 13, 14]]


@pytest.fixture
def policy(backbone: Backbone, policies: list[Path]) -> Backbone:
    backbone.load("policy", Artifact("p", "policy", policies[0]))
    backbone.load("base", BASE)
    return backbone


def sample(backbone: Backbone, chat: Chat, **changes: Any) -> list[list[int]]:
    settings: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.0, "seed": 17, "purpose": "test", **changes}
    prompts = settings.pop("prompts", PROMPTS)
    return [c.ids for c in generate(backbone, settings.pop("role", "policy"), chat, prompts, **settings)]


@pytest.mark.parametrize("role", ["policy", "base"])
def test_greedy_is_transformers_own_generate_row_by_row(
    policy: Backbone, chat: Chat, tiny_model: Path, policies: list[Path], role: str
) -> None:
    from peft import PeftModel

    plain: Any = AutoModelForCausalLM.from_pretrained(str(tiny_model), dtype=torch.float32)
    plain = PeftModel.from_pretrained(plain, str(policies[0])) if role == "policy" else plain
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor([prompt])
        given = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "do_sample": False, "max_new_tokens": 8}
        expected.append(plain.eval().generate(**given, eos_token_id=2, pad_token_id=0)[0, len(prompt) :].tolist())
    assert sample(policy, chat, temperature=0.0, role=role) == expected


def test_sampling_is_the_same_when_seed_and_purpose_are(policy: Backbone, chat: Chat) -> None:
    first = sample(policy, chat)
    torch.manual_seed(99)  # the global generator must not matter
    assert sample(policy, chat) == first


@pytest.mark.parametrize("change", [{"purpose": "other"}, {"seed": 18}])
def test_sampling_differs_when_seed_or_purpose_does(policy: Backbone, chat: Chat, change: dict[str, Any]) -> None:
    assert sample(policy, chat, **change) != sample(policy, chat)


def test_global_generator_is_left_alone(policy: Backbone, chat: Chat) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    sample(policy, chat)
    assert torch.equal(torch.rand(1), expected)


def test_results_come_in_the_order_of_the_prompts(policy: Backbone, chat: Chat) -> None:
    straight = sample(policy, chat, temperature=0.0)
    assert sample(policy, chat, temperature=0.0, prompts=PROMPTS[::-1]) == straight[::-1]


def test_greedy_does_not_depend_on_the_batch_size(policy: Backbone, chat: Chat) -> None:
    assert sample(policy, chat, temperature=0.0, batch_size=1) == sample(policy, chat, temperature=0.0, batch_size=4)


def test_sampler_is_not_truncated_when_the_models_own_settings_would(policy: SharedBackbone, chat: Chat) -> None:
    """A model folder may bring top-k, min-p or penalties; PPO's log-probabilities know nothing of them."""
    free = sample(policy, chat)
    with policy.model("policy") as model:
        own = model.generation_config
        own.top_k, own.top_p, own.min_p, own.typical_p, own.temperature = 2, 0.5, 0.5, 0.2, 3.0
        own.repetition_penalty, own.no_repeat_ngram_size, own.min_new_tokens = 3.0, 1, 8
        own.suppress_tokens, own.epsilon_cutoff = list(range(3, 200)), 0.5
    assert sample(policy, chat) == free


def test_greedy_is_not_steered_when_the_models_own_settings_would(policy: SharedBackbone, chat: Chat) -> None:
    free = sample(policy, chat, temperature=0.0)
    with policy.model("policy") as model:
        own = model.generation_config
        own.repetition_penalty, own.no_repeat_ngram_size, own.num_beams = 3.0, 1, 3
    assert sample(policy, chat, temperature=0.0) == free


def test_sampled_tokens_follow_the_models_probabilities(policy: Backbone, chat: Chat) -> None:
    prompts, temperature = [[5, 6, 7]] * 4000, 0.05
    counts = Counter(ids[0] for ids in sample(policy, chat, prompts=prompts, max_new_tokens=1, batch_size=4000,
                                              temperature=temperature))  # fmt: skip
    with torch.no_grad(), policy.model("policy") as model:
        wanted = (model(input_ids=torch.tensor(prompts[:1])).logits[0, -1] / temperature).softmax(-1)
    for token in wanted.topk(5).indices.tolist():
        assert counts[token] / 4000 == pytest.approx(float(wanted[token]), abs=0.03)


@pytest.mark.parametrize(
    ("ids", "kept", "ended"),
    [([7, 2, 8], [7, 2], True), ([2, 2], [2], True), ([7, 8], [7, 8], False), ([7, 3, 2], [7, 3], True)],
)
def test_cut_keeps_up_to_the_first_stop_token(ids: list[int], kept: list[int], ended: bool) -> None:
    found = _cut(ids, frozenset({2, 3}))
    assert (found.ids, found.ended) == (kept, ended)


def test_generation_ends_at_any_stop_token(policy: Backbone, chat: Chat) -> None:
    greedy = sample(policy, chat, temperature=0.0)[0]
    stopping = copy.copy(chat)
    stopping.stop_ids = frozenset({*chat.stop_ids, greedy[2]})
    (found,) = generate(policy, "policy", stopping, PROMPTS[:1], max_new_tokens=8, temperature=0.0, seed=1, purpose="x")
    assert found == replace(found, ids=greedy[: greedy.index(greedy[2]) + 1], ended=True)


def test_on_batch_counts_every_prompt_once(policy: Backbone, chat: Chat) -> None:
    done: list[int] = []
    sample(policy, chat, batch_size=3, on_batch=done.append)
    assert done == [3, 1]
