"""The decode loop: what it draws, what it says of it, and that dropping rows or sharing a batch changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import StageFailed
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.growing import ROOM, Growing
from stages.modeling.ragged import Group, Ragged
from stages.rollout.decode import BLOCK, Decoded, decode, draw
from stages.rollout.score import logprobs_and_entropy
from stages.rollout.sequences import Sequences

PROMPTS = [[5, 6, 7, 8], [9], [5, 6, 7, 8], [10, 11], [9]]
OPENED = [[*range(20, 30), *prompt] for prompt in PROMPTS]  # as under one system prompt


@pytest.fixture
def policy(loud: ModelConfig) -> Backbone:
    backbone = open_backbone(loud)
    backbone.load("policy", Artifact("base", "policy"))
    return backbone


def run(backbone: Backbone, prompts: Any = PROMPTS, stops: Any = (), **changes: Any) -> list[Decoded]:
    settings = {"max_new_tokens": 8, "temperature": 0.7, **changes}
    draws = torch.rand(len(prompts), settings["max_new_tokens"], generator=torch.Generator().manual_seed(3))
    return decode(backbone, "policy", prompts, draws, stop_ids=frozenset(stops), **settings)


@pytest.mark.parametrize(
    ("uniform", "token"),
    [(0.0, 1), (0.099, 1), (0.101, 3), (0.59, 3), (0.61, BLOCK), (0.999999, BLOCK + 44), (1 - 2**-53, BLOCK + 44)],
)
def test_draw_is_the_inverse_of_the_cumulative_distribution(uniform: float, token: int) -> None:
    probabilities = torch.zeros(1, BLOCK + 45)
    probabilities[0, [1, 3, BLOCK, BLOCK + 44]] = torch.tensor([0.1, 0.5, 0.3, 0.1])
    assert draw(probabilities, torch.tensor([uniform], dtype=torch.float64)).tolist() == [token]


def test_draw_reaches_a_tail_that_float32_sums_would_lose() -> None:
    """One token of all but 2e-7, then 20 of 1e-8 each, over two blocks."""
    probabilities = torch.zeros(1, 2 * BLOCK)
    probabilities[0, 0] = 1 - 2e-7
    probabilities[0, BLOCK : BLOCK + 20] = 1e-8
    at = 1 - 1e-8 * (torch.arange(20, dtype=torch.float64).flip(0) + 0.5)
    drawn = draw(probabilities.expand(20, -1), at).tolist()
    assert drawn[0] < drawn[10] < drawn[-1] == BLOCK + 19


def test_frequencies_are_the_probabilities() -> None:
    probabilities = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0)).mul(2).softmax(-1)
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    drawn = torch.cat([draw(probabilities.expand(len(part), -1), part) for part in uniform.split(10_000)])
    torch.testing.assert_close(drawn.bincount(minlength=1000) / 100_000, probabilities[0], atol=2e-5, rtol=0)


def test_logprobs_and_entropies_are_the_scorers(policy: Backbone) -> None:
    found = run(policy)
    rows = Sequences(PROMPTS, [row.ids for row in found])
    logprobs_BR, entropy_BR = logprobs_and_entropy(policy, "policy", rows, temperature=0.7)
    torch.testing.assert_close(torch.tensor([row.logprobs for row in found]), logprobs_BR, atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(torch.tensor([row.entropies for row in found]), entropy_BR, atol=2e-4, rtol=1e-4)


def test_logprobs_and_entropies_are_the_scorers_where_float32_weights_multiply_in_bfloat16(loud: ModelConfig) -> None:
    backbone = open_backbone(loud.model_copy(update={"lora": None}))
    backbone.mixed = True
    backbone.load("policy", Artifact("base", "policy"))
    found = run(backbone)
    rows = Sequences(PROMPTS, [row.ids for row in found])
    logprobs_BR, entropy_BR = logprobs_and_entropy(backbone, "policy", rows, temperature=0.7)
    torch.testing.assert_close(torch.tensor([row.logprobs for row in found]), logprobs_BR, atol=0.2, rtol=0)
    torch.testing.assert_close(torch.tensor([row.entropies for row in found]), entropy_BR, atol=0.1, rtol=0)


def test_rows_end_at_any_stop_token_and_the_others_go_on_as_before(policy: Backbone) -> None:
    free = run(policy, max_new_tokens=12)
    stops = {free[0].ids[2], free[1].ids[4]}
    for row, whole in zip(run(policy, stops=stops, max_new_tokens=12), free, strict=True):
        ends = [place for place, token in enumerate(whole.ids) if token in stops]
        assert row.ids == (whole.ids[: ends[0] + 1] if ends else whole.ids)
        assert row.ended == bool(ends)
        assert len(row.logprobs) == len(row.entropies) == len(row.ids)


@pytest.mark.parametrize("prompts", [PROMPTS, OPENED], ids=["plain", "opened"])
def test_row_alone_is_the_row_in_a_batch(policy: Backbone, prompts: list[list[int]]) -> None:
    draws = torch.rand(len(prompts), 8, generator=torch.Generator().manual_seed(3))
    for i, row in enumerate(run(policy, prompts)):
        settings: dict[str, Any] = {"stop_ids": frozenset(), "max_new_tokens": 8, "temperature": 0.7}
        assert decode(policy, "policy", prompts[i : i + 1], draws[i : i + 1], **settings)[0].ids == row.ids


@pytest.mark.parametrize("prompts", [PROMPTS, OPENED], ids=["plain", "opened"])
def test_growing_rows_see_what_whole_rows_see_beyond_the_first_cache(
    policy: Backbone, prompts: list[list[int]]
) -> None:
    """Hidden states of each new token, with rows dropped on the way, against one forward of the whole row."""
    new = torch.randint(3, 300, (len(prompts), ROOM + 5), generator=torch.Generator().manual_seed(1))
    rows, alive = Growing(prompts), list(range(len(prompts)))
    with torch.no_grad():
        policy.hidden("policy", rows)
        for t in range(ROOM + 5):
            if t == 3:
                rows.keep([0, 2, 3])
                alive = [0, 2, 3]
            states = policy.hidden("policy", rows.grow(new[alive, t]))
        for place, i in enumerate(alive):
            whole = policy.hidden("policy", Ragged([Group(prompts[i] + new[i].tolist(), [])]))
            torch.testing.assert_close(states[place], whole[-1], atol=2e-4, rtol=1e-3)


def test_prompt_of_several_rows_is_computed_once() -> None:
    rows = Growing(PROMPTS)
    assert rows.ids_N.tolist() == [5, 6, 7, 8, 9, 10, 11]
    assert rows.last_B.tolist() == [3, 4, 3, 6, 4]
    opened = Growing(OPENED)
    assert opened.ids_N.tolist() == [*range(20, 30), 5, 6, 7, 8, 9, 10, 11]
    assert opened.last_B.tolist() == [13, 14, 13, 16, 14]


@pytest.mark.parametrize("window", [2, 5])
def test_window_hides_what_lies_too_far_back(window: int) -> None:
    generator = torch.Generator().manual_seed(0)
    prompts, length = [[1, 2, 3, 4], [5, 6]], 6
    rows = Growing(prompts)
    key, value = (torch.randn(1, 2, len(rows.ids_N), 4, generator=generator) for _ in range(2))
    rows.attention(0, torch.randn(1, 4, len(rows.ids_N), 4), key, value, None, window)
    held = [(key[0, :, :4], value[0, :, :4]), (key[0, :, 4:], value[0, :, 4:])]
    for _ in range(length):
        rows.grow(torch.tensor([7, 8]))
        query = torch.randn(1, 4, 2, 4, generator=generator)
        key, value = (torch.randn(1, 2, 2, 4, generator=generator) for _ in range(2))
        found = rows.attention(0, query, key, value, None, window)
        for i in range(2):
            held[i] = tuple(
                torch.cat([old, new[0, :, i : i + 1]], 1) for old, new in zip(held[i], (key, value), strict=True)
            )  # type: ignore[assignment]
            keys, values = (x[:, -window:].repeat_interleave(2, 0) for x in held[i])
            expected = torch.nn.functional.scaled_dot_product_attention(query[0, :, i : i + 1], keys, values)
            torch.testing.assert_close(found[0, :, i : i + 1], expected)


def test_greedy_takes_the_likeliest_token_and_tells_its_probability_at_temperature_1(
    policy: Backbone, policies: list[Path]
) -> None:
    settings: dict[str, Any] = {"stop_ids": frozenset(), "max_new_tokens": 4, "temperature": 0.0}
    found = decode(policy, "policy", PROMPTS, None, **settings)
    rows = Sequences(PROMPTS, [row.ids for row in found])
    logprobs_BR, _ = logprobs_and_entropy(policy, "policy", rows)
    torch.testing.assert_close(torch.tensor([row.logprobs for row in found]), logprobs_BR, atol=2e-4, rtol=1e-4)


@pytest.mark.parametrize("greedy", [True, False])
def test_a_single_logit_that_is_not_a_number_ends_the_stage(policy: Backbone, greedy: bool) -> None:
    draws = None if greedy else torch.rand(1, 3, dtype=torch.float64)
    with torch.no_grad():
        policy.lm_head("policy")[77] = torch.nan  # of a token that no prompt holds
    with pytest.raises(StageFailed, match="not numbers"):
        decode(policy, "policy", [[5, 6]], draws, stop_ids=frozenset(), max_new_tokens=3, temperature=1.0)
