"""One iteration's rollout: sampled completions with everything the update needs to know about them.

Shapes: B episodes, R the longest completion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from stages.checkpoint.streams import permutation
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.objectives.advantages import gae, grpo, rewards_with_kl, rloo
from stages.objectives.kl import kl_k1
from stages.objectives.masked import standardize
from stages.objectives.statistics import correlation
from stages.objectives.value import fitted_scale
from stages.ppo.config import Config, GrpoConfig, Loop
from stages.ppo.critic import LinearCritic
from stages.ppo.rewards import Rewards
from stages.rollout.generate import Completion, generate
from stages.rollout.score import logprobs, logprobs_and_entropy, normalised_scores, values
from stages.rollout.sequences import Sequences

POLICY, REFERENCE, REWARD, VALUE, CHECK = "policy", "reference", "reward", "value", "check"


@dataclass(frozen=True)
class Experience:
    """A rollout batch. Tensors are float32 on the CPU; a slot past a completion's end is zero.

    Without a value model values and returns are zero.
    """

    prompts: list[list[int]]
    completions: list[list[int]]
    micro_batches: list[list[int]]  # fixed rows of each forward, so that what is computed twice is equal
    old_logprobs_BR: Tensor
    rewards_BR: Tensor  # of each token: the KL penalty, and on the last one the score
    values_BR: Tensor
    advantages_BR: Tensor  # from a value model they are standardised over the whole batch
    returns_BR: Tensor
    kl_BR: Tensor  # k1 to the reference, nats
    entropy_BR: Tensor
    parts: dict[str, Tensor]  # what each source of reward gave, [B]
    scores_B: Tensor  # their weighted sum, without the penalty
    check_scores_B: Tensor | None  # of the reward model that is watched
    ended_B: Tensor

    @property
    def sequences(self) -> Sequences:
        return Sequences(self.prompts, self.completions)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def describe(self, kl_coef: float) -> dict[str, float]:
        """The batch's figures, under the names of TRL's PPO."""
        lengths = self.sequences.mask_BR.sum(1).float()
        kl_B = self.kl_BR.sum(1)
        return {
            "objective/scores": float(self.scores_B.mean()),
            **({f"reward/{name}": float(x.mean()) for name, x in self.parts.items()} if len(self.parts) > 1 else {}),
            **({} if self.check_scores_B is None else {"objective/check_scores": float(self.check_scores_B.mean())}),
            "objective/kl": float(kl_B.mean()),
            "objective/kl_per_token": float(self.kl_BR.sum() / lengths.sum()),
            "objective/non_score_reward": float(-kl_coef * kl_B.mean()),
            "objective/rlhf_reward": float((self.scores_B - kl_coef * kl_B).mean()),
            "objective/entropy": float(self.entropy_BR.sum() / lengths.sum()),
            "objective/length": float(lengths.mean()),
            "objective/eos_rate": float(self.ended_B.mean()),
            "objective/score_length_correlation": correlation(self.scores_B, lengths)[0],
        }


@dataclass(frozen=True)
class Models:
    """Everything that takes part in a rollout."""

    backbone: Backbone
    chat: Chat
    rewards: Rewards
    value_head: ScalarHead | None = None  # of a value model with a trunk
    critic: LinearCritic | None = None  # or one without; neither: no value model
    check_head: ScalarHead | None = None


def choose_prompts(prompts: Sequence[list[int]], config: Loop, seed: int, iteration: int) -> list[list[int]]:
    """The prompts of one iteration, each as often as it is answered: places in an endless run of shuffled passes."""
    chosen = []
    count = config.rollout_batch_size // config.num_samples_per_prompt
    orders: dict[int, list[int]] = {}
    for place in range(iteration * count, (iteration + 1) * count):
        turn, index = divmod(place, len(prompts))
        order = orders.setdefault(turn, permutation(len(prompts), seed, "ppo", "prompts", turn))
        chosen += [prompts[order[index]]] * config.num_samples_per_prompt
    return chosen


@torch.no_grad()
def collect(
    models: Models,
    prompts: list[list[int]],
    config: Loop,
    kl_coef: float,
    seed: int,
    iteration: int,
    on_batch: Callable[[int], None] = lambda done: None,
) -> Experience:
    """Sample, score, and work out advantages."""
    # 1. sample one completion a prompt from the policy, without truncating its distribution
    completions = generate(
        models.backbone,
        POLICY,
        models.chat,
        prompts,
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        seed=seed,
        purpose=f"ppo-rollout-{iteration}",
        on_batch=on_batch,
    )
    sequences = Sequences(prompts, [c.ids for c in completions])
    ended_B = torch.tensor([float(c.ended) for c in completions])
    size = config.micro_batch_size
    micro_batches = [list(range(len(prompts)))[start : start + size] for start in range(0, len(prompts), size)]

    # 2. log-probabilities under the policy that sampled, and under the reference
    old, entropy = _sampled_from(models, config, completions, sequences, micro_batches)
    (reference,) = _by_micro_batch(
        micro_batches,
        sequences,
        lambda part: (logprobs(models.backbone, REFERENCE, part, config.temperature),),
    )

    # 3. one payment a completion, on its last token; an unfinished answer pays the penalty
    states: list[Tensor] = []
    if models.critic is not None:
        parts, states = models.rewards.parts_and_states(models.backbone, sequences)
    else:
        parts = models.rewards.parts(models.backbone, sequences)
    scores_B = models.rewards.total(parts)
    check_B = None
    if models.check_head is not None:
        check_B = normalised_scores(models.backbone, CHECK, models.check_head, sequences)
    penalised_B = scores_B - config.missing_eos_penalty * (1 - ended_B)

    # 4. rewards, advantages, returns
    mask = sequences.mask_BR
    kl = kl_k1(old, reference) * mask
    rewards = rewards_with_kl(penalised_B, kl, mask, kl_coef)
    if models.critic is not None and isinstance(config, Config):
        value = _from_states(models.critic, sequences, states, rewards, config.gamma)
    else:
        value = _values(models, sequences, micro_batches)
    if isinstance(config, Config):
        advantages, returns = _from_values(config, rewards, value, mask)
    else:
        advantages, returns = _against_siblings(config, penalised_B, kl_coef * kl.sum(1), mask), torch.zeros_like(value)
    return Experience(
        prompts=sequences.prompts,
        completions=sequences.completions,
        micro_batches=micro_batches,
        old_logprobs_BR=old,
        rewards_BR=rewards,
        values_BR=value,
        advantages_BR=advantages,
        returns_BR=returns,
        kl_BR=kl,
        entropy_BR=entropy,
        parts=parts,
        scores_B=scores_B,
        check_scores_B=check_B,
        ended_B=ended_B,
    )


def _sampled_from(
    models: Models,
    config: Loop,
    completions: Sequence[Completion],
    sequences: Sequences,
    micro_batches: list[list[int]],
) -> list[Tensor]:
    """Log-probability of each sampled token and the entropy of the distribution it came from, both [B, R].

    In float32 what the decode loop saw is what the training code gives, to 1e-5 nats. In bfloat16 it is up to 0.18 off,
    so it is computed anew, in the training batches.
    """
    seen = [(c.logprobs, c.entropies) for c in completions if c.logprobs is not None and c.entropies is not None]
    exact = models.backbone.dtype == torch.float32 and not models.backbone.mixed
    if exact and len(seen) == len(completions):
        columns = zip(*seen, strict=True)
        return [sequences.scatter(torch.tensor([x for row in column for x in row])) for column in columns]
    return _by_micro_batch(
        micro_batches,
        sequences,
        lambda part: logprobs_and_entropy(models.backbone, POLICY, part, config.temperature),
    )


def rescale_values(models: Models, experience: Experience, config: Config) -> None:
    """Bring the value head onto the scale of what this batch earned."""
    assert models.value_head is not None, "asked for with a value model that learns by steps"
    mask_BR = experience.sequences.mask_BR
    earned_BR = _earned(experience.rewards_BR, mask_BR, config.gamma)
    models.value_head.rescale(*fitted_scale(experience.values_BR, earned_BR, mask_BR))


@torch.no_grad()
def revalued(models: Models, experience: Experience, config: Config) -> Experience:
    """The same batch with the present value model's values, and what follows from them."""
    value = _values(models, experience.sequences, experience.micro_batches)
    advantages, returns = _from_values(config, experience.rewards_BR, value, experience.sequences.mask_BR)
    return replace(experience, values_BR=value, advantages_BR=advantages, returns_BR=returns)


def _values(models: Models, sequences: Sequences, micro_batches: list[list[int]]) -> Tensor:
    """The value before each completion token, [B, R]; zero without a value model."""
    head = models.value_head
    if head is None:
        return torch.zeros(sequences.mask_BR.shape)
    return _by_micro_batch(micro_batches, sequences, lambda part: (values(models.backbone, VALUE, head, part),))[0]


def _from_states(
    critic: LinearCritic, sequences: Sequences, states: list[Tensor], rewards_BR: Tensor, gamma: float
) -> Tensor:
    """The values of a critic that learns, from what each token's answer still earned, in the same call; [B, R]."""
    mask_BR = sequences.mask_BR
    earned_BR = _earned(rewards_BR, mask_BR, gamma)
    earned = [row[kept] for row, kept in zip(earned_BR, mask_BR, strict=True)]
    return sequences.scatter(critic.values(sequences.prompts, states, earned))


def _earned(rewards_BR: Tensor, mask_BR: Tensor, gamma: float) -> Tensor:
    """What each answer still earns from each of its tokens on, by no one's estimate."""
    return gae(rewards_BR, torch.zeros_like(rewards_BR), mask_BR, gamma, 1.0)[1]


def _from_values(config: Config, rewards_BR: Tensor, values_BR: Tensor, mask_BR: Tensor) -> tuple[Tensor, Tensor]:
    """GAE's advantages, standardised over the whole batch, and the returns the value model is to predict."""
    advantages_BR, returns_BR = gae(rewards_BR, values_BR, mask_BR, config.gamma, config.gae_lambda)
    return standardize(advantages_BR, mask_BR), returns_BR


def _against_siblings(config: Loop, scores_B: Tensor, penalties_B: Tensor, mask_BR: Tensor) -> Tensor:
    """An answer's score against those of the other answers to its prompt, less its KL penalty against theirs.

    The same on all its tokens. GRPO standardises the scores and not the penalty: else the KL coefficient would be
    divided by each prompt's deviation, and answers that score alike would be told apart by their KL alone.
    """
    scores_GK, penalties_GK = (x.view(-1, config.num_samples_per_prompt) for x in (scores_B, penalties_B))
    baseline = grpo if isinstance(config, GrpoConfig) else rloo
    return (baseline(scores_GK) - rloo(penalties_GK)).view(-1, 1) * mask_BR


def _by_micro_batch(
    micro_batches: list[list[int]], sequences: Sequences, score: Callable[[Sequences], tuple[Tensor, ...]]
) -> list[Tensor]:
    """Apply a scorer batch by batch; gives its [B, R] results in row order."""
    results: list[Tensor] = []
    for rows in micro_batches:
        parts = score(sequences.select(rows))
        results = results or [torch.zeros(sequences.mask_BR.shape) for _ in parts]
        for result, part in zip(results, parts, strict=True):
            result[torch.tensor(rows), : part.shape[1]] = part.float().cpu()
    return results
