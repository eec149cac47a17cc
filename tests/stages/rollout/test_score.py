"""Log-probabilities, KL, values and scores against slow loops over single rows."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_run import BASE
from torch import Tensor

from pipeline.contract import Artifact
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.rollout import score
from stages.rollout.score import in_batches, logprobs, score_rows, scores, token_kl, values
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
    found, entropy = logprobs(roles, "policy", BATCH, 0, temperature)
    assert found.shape == entropy.shape == (3, 4)
    for row, completion in enumerate(BATCH.completions):
        slow = slow_logprobs(roles, "policy", row, temperature)
        expected = slow[torch.arange(len(completion)), torch.tensor(completion)].float()
        torch.testing.assert_close(found[row, : len(completion)], expected, atol=1e-5, rtol=0)
        expected = -(slow.exp() * slow).sum(-1).float()
        torch.testing.assert_close(entropy[row, : len(completion)], expected, atol=1e-5, rtol=0)
    assert (found[~BATCH.mask_BR] == 0).all()


def test_logprobs_do_not_depend_on_pad_id_or_on_the_other_rows(roles: Backbone) -> None:
    with torch.no_grad():
        together, _ = logprobs(roles, "policy", BATCH, pad_id=0)
        padded, _ = logprobs(roles, "policy", BATCH, pad_id=2)
        turned, _ = logprobs(roles, "policy", BATCH.select([2, 1, 0]), pad_id=0)
    torch.testing.assert_close(padded, together, atol=1e-6, rtol=0)
    torch.testing.assert_close(turned.flip(0), together, atol=1e-6, rtol=0)


def test_in_batches_puts_rows_back_in_order(roles: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, entropy = logprobs(roles, "policy", BATCH, 0)
    monkeypatch.setattr(score, "TOKENS_A_BATCH", 6)
    parts = in_batches(lambda part: logprobs(roles, "policy", part, 0), BATCH)
    torch.testing.assert_close(parts, (whole.detach(), entropy), atol=1e-6, rtol=0)


def test_gradients_reach_the_role_and_nothing_else(roles: Backbone) -> None:
    logprobs(roles, "policy", BATCH, 0)[0].sum().backward()
    assert all(p.grad is not None for p in roles.parameters("policy").values())
    assert all(p.grad is None for p in roles.parameters("other").values())


def test_token_kl_is_zero_when_the_roles_are_the_same(roles: Backbone) -> None:
    assert (token_kl(roles, "policy", "policy", BATCH, 0) == 0).all()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_token_kl_equals_the_sum_over_the_vocabulary(roles: Backbone, temperature: float) -> None:
    found = token_kl(roles, "policy", "base", BATCH, 0, temperature)
    for row, completion in enumerate(BATCH.completions):
        ours, theirs = (slow_logprobs(roles, role, row, temperature) for role in ("policy", "base"))
        expected = (ours.exp() * (ours - theirs)).sum(-1).float()
        torch.testing.assert_close(found[row, : len(completion)], expected, atol=1e-5, rtol=1e-4)
    assert (found[BATCH.mask_BR] > 0).all() and (found[~BATCH.mask_BR] == 0).all()


def test_token_kl_is_the_same_when_taken_in_small_chunks(roles: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = token_kl(roles, "policy", "other", BATCH, 0)
    monkeypatch.setattr(score, "ROWS_A_CHUNK", 3)
    torch.testing.assert_close(token_kl(roles, "policy", "other", BATCH, 0), whole, atol=1e-6, rtol=0)


@torch.no_grad()
def slow_states(backbone: Backbone, role: str, ids: list[int]) -> Tensor:
    with backbone.model(role) as model:
        return model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]


def test_values_are_read_where_each_token_is_predicted(roles: Backbone, head: ScalarHead) -> None:
    found = values(roles, "policy", head, BATCH, 0)
    states = slow_states(roles, "policy", BATCH.prompts[1] + BATCH.completions[1])
    expected = (states[0:4] @ head.weight - 0.5) / 2.0  # the prompt has one token
    torch.testing.assert_close(found[1], expected, atol=1e-5, rtol=0)


def test_scores_are_read_at_the_last_token(roles: Backbone, head: ScalarHead) -> None:
    rows = [[5, 6, 7], [8, 9], [0, 0, 5, 0]]
    expected = torch.stack([slow_states(roles, "policy", row)[-1] @ head.weight for row in rows])
    torch.testing.assert_close(scores(roles, "policy", head, rows, pad_id=0), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(score_rows(roles, "policy", head, rows, pad_id=2), expected.detach(), atol=1e-5, rtol=0)


def test_score_tells_an_ended_answer_from_an_unended_one(roles: Backbone, head: ScalarHead, chat: Chat) -> None:
    row = [5, 6, 7]
    for pad_id in (chat.pad_id, chat.end_of_turn):
        open_, ended = score_rows(roles, "policy", head, [row, [*row, chat.end_of_turn]], pad_id).tolist()
        assert abs(open_ - ended) > 1e-4


def test_head_reads_back_what_it_saved(head: ScalarHead, tmp_path: Path) -> None:
    head.save(tmp_path)
    again = ScalarHead.load(tmp_path)
    assert torch.equal(again(torch.ones(40)), head(torch.ones(40)))


def test_predictors_name_row_position_and_token() -> None:
    row, position, target = Sequences([[5, 6], [7]], [[8], [9, 2]]).predictors()
    assert (row.tolist(), position.tolist(), target.tolist()) == ([0, 1, 1], [1, 0, 1], [8, 9, 2])
