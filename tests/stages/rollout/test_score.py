"""Log-probabilities, KL, values and scores against slow loops over single rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import BASE
from torch import Tensor

from pipeline.contract import Artifact
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat, Encoded
from stages.modeling.heads import ScalarHead
from stages.rollout import score
from stages.rollout.score import (
    all_scores,
    encoded_logprobs,
    in_batches,
    logprobs,
    logprobs_and_entropy,
    scores,
    token_kl,
    values,
)
from stages.rollout.sequences import Sequences

BATCH = Sequences([[5, 6, 7], [8], [9, 10, 11, 12, 13]], [[14, 15, 2], [16, 17, 18, 19], [2]])


@pytest.fixture
def roles(backbone: Backbone, policies: list[Path]) -> Backbone:
    backbone.load("policy", Artifact("p", "policy", policies[0]), trainable=True)
    backbone.load("other", Artifact("o", "policy", policies[1]))
    backbone.load("base", BASE)
    return backbone


@pytest.fixture
def head(backbone: Backbone) -> ScalarHead:
    head = ScalarHead(backbone.hidden_size).initialise(torch.Generator().manual_seed(1))
    head.mean.fill_(0.5)
    head.std.fill_(2.0)
    return head


@torch.no_grad()
def slow_logprobs(backbone: Backbone, role: str, row: int, temperature: float = 1.0) -> Tensor:
    """Full log-softmax [R, V] before each completion token of one row, alone and without padding."""
    prompt, completion = BATCH.prompts[row], BATCH.completions[row]
    with backbone.model(role) as model:
        logits = model(input_ids=torch.tensor([prompt + completion])).logits[0]
    return (logits[len(prompt) - 1 : -1].double() / temperature).log_softmax(-1)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_a_full_log_softmax_of_each_row_alone(roles: Backbone, temperature: float) -> None:
    found, entropy = logprobs_and_entropy(roles, "policy", BATCH, temperature)
    assert found.shape == entropy.shape == (3, 4)
    for row, completion in enumerate(BATCH.completions):
        slow = slow_logprobs(roles, "policy", row, temperature)
        expected = slow[torch.arange(len(completion)), torch.tensor(completion)].float()
        torch.testing.assert_close(found[row, : len(completion)], expected, atol=1e-5, rtol=0)
        expected = -(slow.exp() * slow).sum(-1).float()
        torch.testing.assert_close(entropy[row, : len(completion)], expected, atol=1e-5, rtol=0)
    assert (found[~BATCH.mask_BR] == 0).all()


def test_logprobs_with_gradients_are_those_without(roles: Backbone) -> None:
    plain, _ = logprobs_and_entropy(roles, "policy", BATCH, 0.7)
    torch.testing.assert_close(logprobs(roles, "policy", BATCH, 0.7).detach(), plain, atol=1e-6, rtol=0)


def test_logprobs_do_not_depend_on_the_other_rows_or_their_order(roles: Backbone) -> None:
    with torch.no_grad():
        together = logprobs(roles, "policy", BATCH)
        turned = logprobs(roles, "policy", BATCH.select([2, 1, 0]))
    torch.testing.assert_close(turned.flip(0), together, atol=1e-6, rtol=0)


def test_logprobs_are_the_same_when_rows_share_a_prompt(roles: Backbone, head: ScalarHead) -> None:
    shared = Sequences([[5, 6, 7], [8], [5, 6, 7], [5, 6, 7]], [[14, 15, 2], [16, 2], [17], [2]])
    assert len(shared.ragged.groups) == 2
    together, points = logprobs(roles, "policy", shared), all_scores(roles, "policy", head, shared)
    for row in range(4):
        alone = shared.select([row])
        length = len(shared.completions[row])
        torch.testing.assert_close(logprobs(roles, "policy", alone)[0], together[row, :length], atol=1e-5, rtol=0)
        torch.testing.assert_close(all_scores(roles, "policy", head, alone)[0], points[row], atol=1e-5, rtol=0)


OPENING = [20, 21, 22, 23, 24, 25, 26, 27, 28]  # what several rows begin with, laid down once


def test_logprobs_are_the_same_when_prompts_begin_alike(roles: Backbone, head: ScalarHead) -> None:
    prompts = [[*OPENING, *rest] for rest in ([5], [6, 7], [5], [])]
    opened = Sequences(prompts, [[14, 15, 2], [16, 2], [17], [2]])
    assert opened.ragged.opening == 9
    together, points = logprobs(roles, "policy", opened), all_scores(roles, "policy", head, opened)
    for row, completion in enumerate(opened.completions):
        alone, own = opened.select([row]), together[row, : len(completion)]
        torch.testing.assert_close(logprobs(roles, "policy", alone)[0], own, atol=1e-5, rtol=0)
        torch.testing.assert_close(all_scores(roles, "policy", head, alone)[0], points[row], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "rows",
    [
        [Encoded([5, 6, 7, 8, 2], [0, 1, 0, 1, 1]), Encoded([9, 10, 2], [0, 0, 1])],
        [Encoded([*OPENING, 5, 2], [0] * 7 + [1, 1, 1, 1]), Encoded([*OPENING, 6, 7, 2], [0] * 8 + [1] * 4)],
    ],
    ids=["plain", "opened"],
)
def test_encoded_logprobs_are_of_the_masked_tokens_of_each_conversation(roles: Backbone, rows: list[Encoded]) -> None:
    found = encoded_logprobs(roles, "policy", rows)
    expected = []
    for row in rows:
        with roles.model("policy") as model, torch.no_grad():
            table = model(input_ids=torch.tensor([row.input_ids])).logits[0].log_softmax(-1)
        expected += [table[t - 1, row.input_ids[t]] for t in range(1, len(row.input_ids)) if row.completion_mask[t]]
    torch.testing.assert_close(found.detach(), torch.stack(expected), atol=1e-5, rtol=0)


def test_in_batches_puts_rows_back_in_order(roles: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = logprobs_and_entropy(roles, "policy", BATCH)
    monkeypatch.setattr(score, "TOKENS_A_BATCH", 6)
    parts = in_batches(lambda part: logprobs_and_entropy(roles, "policy", part), BATCH)
    torch.testing.assert_close(parts, whole, atol=1e-6, rtol=0)


def test_gradients_reach_the_role_and_nothing_else(roles: Backbone) -> None:
    logprobs(roles, "policy", BATCH).sum().backward()
    assert all(p.grad is not None for p in roles.parameters("policy").values())
    assert all(p.grad is None for p in roles.parameters("other").values())


def test_token_kl_is_zero_when_the_roles_are_the_same(roles: Backbone) -> None:
    assert (token_kl(roles, "policy", "policy", BATCH) == 0).all()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_kl_equals_the_sum_over_the_vocabulary(roles: Backbone, temperature: float) -> None:
    found = token_kl(roles, "policy", "base", BATCH, temperature)
    for row, completion in enumerate(BATCH.completions):
        ours, theirs = (slow_logprobs(roles, role, row, temperature) for role in ("policy", "base"))
        expected = (ours.exp() * (ours - theirs)).sum(-1).float()
        torch.testing.assert_close(found[row, : len(completion)], expected, atol=1e-5, rtol=1e-4)
    assert (found[BATCH.mask_BR] > 0).all() and (found[~BATCH.mask_BR] == 0).all()


def test_token_kl_is_the_same_when_taken_in_small_chunks(roles: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = token_kl(roles, "policy", "other", BATCH)
    monkeypatch.setattr(score, "ROWS_A_CHUNK", 3)
    torch.testing.assert_close(token_kl(roles, "policy", "other", BATCH), whole, atol=1e-6, rtol=0)


@torch.no_grad()
def slow_states(backbone: Backbone, role: str, ids: list[int]) -> Tensor:
    with backbone.model(role) as model:
        return model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]


def test_values_are_read_where_each_token_is_predicted(roles: Backbone, head: ScalarHead) -> None:
    found = values(roles, "policy", head, BATCH)
    states = slow_states(roles, "policy", BATCH.prompts[1] + BATCH.completions[1])
    expected = (states[0:4] @ head.weight - 0.5) / 2.0  # the prompt has one token
    torch.testing.assert_close(found[1], expected, atol=1e-5, rtol=0)


def test_scores_are_read_at_the_last_token(roles: Backbone, head: ScalarHead) -> None:
    rows = Sequences([[5, 6], [8], [0, 0]], [[7], [9], [5, 0]])
    whole = [prompt + answer for prompt, answer in zip(rows.prompts, rows.completions, strict=True)]
    expected = torch.stack([slow_states(roles, "policy", row)[-1] @ head.weight for row in whole])
    torch.testing.assert_close(scores(roles, "policy", head, rows), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(all_scores(roles, "policy", head, rows), expected.detach(), atol=1e-5, rtol=0)


def test_score_tells_an_ended_answer_from_an_unended_one(roles: Backbone, head: ScalarHead, chat: Chat) -> None:
    rows = Sequences([[5, 6], [5, 6]], [[7], [7, chat.end_of_turn]])
    open_, ended = all_scores(roles, "policy", head, rows).tolist()
    assert abs(open_ - ended) > 1e-4


def test_rescaled_head_gives_a_line_of_what_it_gave(head: ScalarHead) -> None:
    hidden = torch.randn(4, len(head.weight), generator=torch.Generator().manual_seed(0))
    head.mean.fill_(0.3)
    head.std.fill_(2.0)
    before = head(hidden)
    head.rescale(-1.5, 0.25)
    torch.testing.assert_close(head(hidden), -1.5 + 0.25 * before)
    head.rescale(0.7, 0.0)
    torch.testing.assert_close(head(hidden), torch.full_like(before, 0.7))


def test_head_reads_back_what_it_saved(head: ScalarHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    again = ScalarHead.load(tmp_path, 40)
    assert torch.equal(again(torch.ones(40)), head(torch.ones(40)))


def test_predictors_name_the_place_of_the_state_and_the_token_when_a_prompt_is_shared() -> None:
    sequences = Sequences([[5, 6], [7], [5, 6]], [[8, 9], [2], [3, 4]])
    assert sequences.ragged.ids_N.tolist() == [5, 6, 8, 9, 3, 4, 7, 2]
    place, target = sequences.predictors
    assert (place.tolist(), target.tolist()) == ([1, 2, 6, 1, 4], [8, 9, 2, 3, 4])
    assert sequences.last_B.tolist() == [3, 7, 5]
