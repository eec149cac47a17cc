"""PPO once more: slow, plain, in float64, and sharing no line with the code under test.

transformers' own forward over right-padded rows, full log-softmax, one flat list of actions in place of masks, GAE one
answer at a time, an Adam of its own. Settings go by the names that a ppo stage's config has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM

Ids = Sequence[Sequence[int]]


class Adam:
    """Kingma and Ba 2015, algorithm 1, behind a clip of the gradient's norm."""

    def __init__(self, parameters: Sequence[Tensor], rate: float, max_norm: float) -> None:
        self.parameters, self.rate, self.max_norm, self.time = list(parameters), rate, max_norm, 0
        self.first, self.second = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))

    @torch.no_grad()
    def step(self, loss: Tensor, factor: float) -> None:
        slopes = torch.autograd.grad(loss, self.parameters)
        norm = sum(float((slope**2).sum()) for slope in slopes) ** 0.5
        self.time += 1
        for p, slope, m, v in zip(self.parameters, slopes, self.first, self.second, strict=True):
            slope = slope * min(1.0, self.max_norm / (norm + 1e-6))
            m.mul_(0.9).add_(0.1 * slope)
            v.mul_(0.999).add_(0.001 * slope**2)
            p -= self.rate * factor * (m / (1 - 0.9**self.time)) / ((v / (1 - 0.999**self.time)).sqrt() + 1e-5)


class SlowPPO:
    """Policy, reference and value model from the same folders as the real run."""

    def __init__(self, base: Path, reward: Path, settings: Any, score: Callable[[list[int]], float], end: int) -> None:
        self.settings, self.score, self.end = settings, score, end
        self.policy, self.reference, self.critic = (_open(folder) for folder in (base, base, reward))
        head = {name: tensor.double() for name, tensor in load_file(reward / "head.safetensors").items()}
        self.head, self.mean, self.std = head["weight"].requires_grad_(), head["mean"], head["std"]
        norm = settings.max_grad_norm
        self.policy_adam = Adam(list(self.policy.parameters()), settings.learning_rate, norm)
        trunk = list(self.critic.model.parameters())  # the language-model head takes no part
        self.value_adam = Adam([*trunk, self.head], settings.value_learning_rate, norm)

    @torch.no_grad()
    def sample(self, prompts: Ids, generator: torch.Generator) -> list[list[int]]:
        """An answer a prompt, a whole forward a token."""
        answers: list[list[int]] = [[] for _ in prompts]
        for _ in range(self.settings.max_new_tokens):
            rows = [row for row, answer in enumerate(answers) if self.end not in answer]
            if not rows:
                break
            so_far = [[*prompts[row], *answers[row]] for row in rows]
            logits = self.policy(**_padded(so_far)).logits
            last = logits[range(len(rows)), [len(ids) - 1 for ids in so_far]] / self.settings.temperature
            drawn = torch.multinomial(last.softmax(-1), 1, generator=generator)
            for row, token in zip(rows, drawn[:, 0].tolist(), strict=True):
                answers[row].append(token)
        return answers

    def learn(self, prompts: Ids, answers: Ids, progress: float) -> None:
        """All epochs over one batch of answers; `progress` is the share of the run that lies behind it."""
        s = self.settings
        with torch.no_grad():
            old, old_values = self._logprobs(self.policy, prompts, answers), self._values(prompts, answers)
            log_ratios = (old - self._logprobs(self.reference, prompts, answers)).tolist()
        advantages, returns = self._advantages(answers, log_ratios, old_values.tolist())
        good = torch.tensor(advantages, dtype=torch.float64)
        good = (good - good.mean()) / (good.var(correction=0) + 1e-8).sqrt()
        goal = torch.tensor(returns, dtype=torch.float64)
        for _ in range(s.num_ppo_epochs):
            ratio = (self._logprobs(self.policy, prompts, answers) - old).exp()
            held = ratio.clamp(1 - s.clip_range, 1 + s.clip_range)
            policy_loss = torch.maximum(-good * ratio, -good * held).mean()
            values = self._values(prompts, answers)
            near = old_values + (values - old_values).clamp(-s.clip_range_value, s.clip_range_value)
            value_loss = 0.5 * torch.maximum((values - goal) ** 2, (near - goal) ** 2).mean()
            self.policy_adam.step(policy_loss, 1 - progress)
            self.value_adam.step(s.value_coef * value_loss, 1 - progress)

    def _advantages(
        self, answers: Ids, log_ratios: list[float], values: list[float]
    ) -> tuple[list[float], list[float]]:
        """GAE, and the returns, of each action in turn."""
        s, at = self.settings, 0
        advantages, returns = [], []
        for answer in answers:
            length = len(answer)
            rewards = [-s.kl_coef * log_ratios[at + t] for t in range(length)]
            rewards[-1] += self.score(list(answer)) - (0 if answer[-1] == self.end else s.missing_eos_penalty)
            own = [*values[at : at + length], 0.0]
            errors = [rewards[t] + s.gamma * own[t + 1] - own[t] for t in range(length)]
            for t in range(length):
                found = sum((s.gamma * s.gae_lambda) ** (u - t) * errors[u] for u in range(t, length))
                advantages.append(found)
                returns.append(found + own[t])
            at += length
        return advantages, returns

    def _logprobs(self, model: Any, prompts: Ids, answers: Ids) -> Tensor:
        logits = model(**_padded(_joined(prompts, answers))).logits / self.settings.temperature
        row, place, token = _actions(prompts, answers)
        return logits.log_softmax(-1)[row, place, token]

    def _values(self, prompts: Ids, answers: Ids) -> Tensor:
        states = self.critic.model(**_padded(_joined(prompts, answers))).last_hidden_state
        row, place, _ = _actions(prompts, answers)
        return (states[row, place] @ self.head - self.mean) / self.std


def _open(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float64, attn_implementation="eager").eval()


def _joined(prompts: Ids, answers: Ids) -> list[list[int]]:
    return [[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)]


def _padded(rows: Ids) -> dict[str, Tensor]:
    width = max(map(len, rows))
    ids = [[*row, *[0] * (width - len(row))] for row in rows]
    seen = [[1] * len(row) + [0] * (width - len(row)) for row in rows]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(seen)}


def _actions(prompts: Ids, answers: Ids) -> tuple[list[int], list[int], list[int]]:
    """Row, place of the state that predicts it, and token, of every token of every answer."""
    found = [
        (row, len(prompts[row]) - 1 + t, token) for row, answer in enumerate(answers) for t, token in enumerate(answer)
    ]
    row, place, token = zip(*found, strict=True)
    return list(row), list(place), list(token)
