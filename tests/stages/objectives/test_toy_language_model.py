"""PPO from our objectives on a language model so small that its optimum is known exactly.

Vocabulary 5, token 0 ends the answer, at most 4 tokens. The reward counts the 1s of an answer that ends, and is -1 for
one that is cut off. States are prefixes, numbered so that the child of i by token a >= 1 is 4 i + a, as in a heap.
"""

from __future__ import annotations

import pytest
import torch

from stages.objectives.advantages import gae, rewards_with_kl
from stages.objectives.kl import kl_k1, kl_k3
from stages.objectives.logprobs import selective_logprobs
from stages.objectives.masked import standardize
from stages.objectives.policy import aggregate_token_mean, clipped_policy_loss
from stages.objectives.value import clipped_value_loss

D, BETA, VOCAB, LENGTH, PREFIXES = torch.float64, 0.3, 5, 4, 85
BEST, START = 1.0460927, -0.2637980  # J of the optimum and of the reference policy


def reference():
    noise = torch.randn(PREFIXES, VOCAB, generator=torch.Generator().manual_seed(0), dtype=D)
    return (0.7 * noise).log_softmax(-1)


def transitions():
    """(child [S, V], reward [S, V]); a child past the last prefix means that the answer is over."""
    child = 4 * torch.arange(PREFIXES)[:, None] + torch.arange(VOCAB)
    child[:, 0] = PREFIXES
    ones = torch.zeros(PREFIXES, dtype=D)
    for state in range(1, PREFIXES):
        ones[state] = ones[(state - 1) // 4] + (state % 4 == 1)
    reward = torch.where(child >= PREFIXES, -1.0, torch.zeros(PREFIXES, VOCAB, dtype=D))
    reward[:, 0] = ones
    return child.clamp(max=PREFIXES), reward


def exact_objective(logp=None):
    """E[score - BETA * KL] by backward induction; of the best policy (soft value iteration) where none is given."""
    child, reward = transitions()
    ref = reference()
    value = torch.zeros(PREFIXES + 1, dtype=D)
    for state in reversed(range(PREFIXES)):
        gain = reward[state] + value[child[state]]
        if logp is None:
            value[state] = BETA * torch.logsumexp(ref[state] + gain / BETA, -1)
        else:
            value[state] = (logp[state].exp() * (gain - BETA * (logp[state] - ref[state]))).sum()
    return value[0].item()


def roll_out(logp, num_answers, generator):
    """States, tokens and mask, each [B, T], and the scores; slots past the end hold state 0 and token 0."""
    child, reward = transitions()
    states, tokens = torch.zeros(2, num_answers, LENGTH, dtype=torch.long)
    mask, scores = torch.zeros(num_answers, LENGTH, dtype=torch.bool), torch.zeros(num_answers, dtype=D)
    state = torch.zeros(num_answers, dtype=torch.long)
    for t in range(LENGTH):
        alive = state < PREFIXES
        here = state.where(alive, 0)
        token = torch.multinomial(logp[here].exp(), 1, generator=generator)[:, 0]
        states[:, t], tokens[:, t], mask[:, t] = here, token.where(alive, 0), alive
        scores += reward[here, token] * alive
        state = child[here, token].where(alive, PREFIXES)
    return states, tokens, mask, scores


def ppo(estimator, seed=1, iterations=200, num_answers=256, learning_rate=0.03):
    """Log-probabilities [S, V] of a table of logits trained beside a table of values."""
    generator, ref = torch.Generator().manual_seed(seed), reference()
    policy, critic = ref.clone().requires_grad_(), torch.zeros(PREFIXES, dtype=D, requires_grad=True)
    adam = torch.optim.Adam([policy, critic], eps=1e-5)
    for iteration in range(iterations):
        adam.param_groups[0]["lr"] = learning_rate * (1 - iteration / iterations)
        with torch.no_grad():
            states, tokens, mask, scores = roll_out(policy.log_softmax(-1), num_answers, generator)
            old, old_values = selective_logprobs(policy[states], tokens), critic[states].masked_fill(~mask, 9.9)
            kl = estimator(old, selective_logprobs(ref[states], tokens))
            advantages, returns = gae(rewards_with_kl(scores, kl, mask, BETA), old_values, mask, 1.0, 0.95)
            advantages = standardize(advantages, mask)
        for _ in range(4):
            policy_loss = clipped_policy_loss(selective_logprobs(policy[states], tokens), old, advantages, 0.2)
            value_loss = clipped_value_loss(critic[states], old_values, returns, 0.2)
            adam.zero_grad()
            aggregate_token_mean(policy_loss + 0.1 * value_loss, mask).backward()
            adam.step()
    return policy.detach().log_softmax(-1)


def share_of_gap_closed(logp):
    return (exact_objective(logp) - START) / (BEST - START)


def test_toy_objective_matches_golden():
    assert exact_objective() == pytest.approx(BEST, abs=1e-7)
    assert exact_objective(reference()) == pytest.approx(START, abs=1e-7)


def test_ppo_closes_the_gap_when_k1_is_in_the_reward():
    assert share_of_gap_closed(ppo(kl_k1)) > 0.992


def test_ppo_misses_the_optimum_when_k3_is_in_the_reward():
    assert share_of_gap_closed(ppo(kl_k3)) < 0.6
