"""One optimizer step of PPO on one minibatch of a rollout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from pipeline.errors import StageFailed
from stages.modeling.chat import Encoded
from stages.objectives.kl import kl_k3
from stages.objectives.policy import clip_fraction, clipped_policy_loss, dual_clip, token_mean_over
from stages.objectives.value import clipped_value_loss
from stages.ppo.config import Config, Loop
from stages.ppo.experience import POLICY, VALUE, Experience, Models
from stages.rollout.score import encoded_logprobs, logprobs, values

MAX_SKIPPED = 3  # unusable steps in a row before the run gives up


@dataclass
class Totals:
    """Sums over the tokens of one optimizer step, and the worst ratio seen."""

    num_tokens: int
    sums: dict[str, float] = field(default_factory=dict)
    ratio_deviation: float = 0.0

    def add(self, name: str, values: Tensor, mask: Tensor) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + float((values.detach() * mask).sum()) / self.num_tokens


class Updater:
    """The trained parameters and their optimizer. Policy and value gradients are clipped apart."""

    def __init__(self, models: Models, config: Loop, rates: tuple[float, float]) -> None:
        self.models, self.config, self._rates = models, config, rates
        self.policy = models.backbone.parameters(POLICY)
        self.value: dict[str, nn.Parameter] = {}
        self.value_scale: dict[str, Tensor] = {}
        if models.value_head is not None:
            self.value = {**models.backbone.parameters(VALUE), "head": models.value_head.weight}
            self.value_scale = dict(models.value_head.named_buffers())
        groups = zip((self.policy, self.value), rates, strict=True)
        self.optimizer = torch.optim.Adam(
            [{"params": list(group.values()), "lr": rate} for group, rate in groups if group],
            eps=1e-5,  # Huang et al. 2024, detail 3.2: the TensorFlow original's, not torch's 1e-8
            fused=True,
        )
        self.skipped_in_a_row = 0
        self.num_skipped = 0

    def set_progress(self, fraction: float) -> None:
        """Learning rates fall linearly to zero with the share of iterations done."""
        for group, rate in zip(self.optimizer.param_groups, self._rates, strict=False):  # the value's may be absent
            group["lr"] = rate * (1 - fraction)

    def step(
        self, experience: Experience, micro_batches: list[list[int]], remembered: Sequence[Encoded] = ()
    ) -> dict[str, float]:
        """Accumulate over the micro-batches with one denominator, then step; `remembered` rows add their own loss.

        The gradient does not depend on how the minibatch is cut: every token counts 1/N, N the minibatch's tokens.
        """
        rows = [row for part in micro_batches for row in part]
        totals = Totals(int(experience.sequences.mask_BR[rows].sum()))
        for part in micro_batches:
            self._policy_gradient(experience, part, totals)
            if isinstance(self.config, Config) and self.value:
                assert self.config.clip_range_value is not None, "the config fills it in for an adapter"
                self._value_gradient(self.config, experience, part, totals, self.config.clip_range_value)
        if remembered:
            self._ptx_gradient(remembered, totals)
        norms = {
            f"{name}/grad_norm": float(nn.utils.clip_grad_norm_(list(group.values()), self.config.max_grad_norm))
            for name, group in (("policy", self.policy), ("value", self.value))
            if group
        }
        self._apply(all(math.isfinite(x) for x in (*norms.values(), totals.sums["loss/policy_avg"])))
        return {**totals.sums, **norms, "policy/ratio_deviation": totals.ratio_deviation}

    def value_step(self, config: Config, experience: Experience, micro_batches: list[list[int]]) -> None:
        """An optimizer step of the value model alone, unclipped."""
        rows = [row for part in micro_batches for row in part]
        totals = Totals(int(experience.sequences.mask_BR[rows].sum()))
        for part in micro_batches:
            self._value_gradient(config, experience, part, totals, clip_range=math.inf)
        norm = float(nn.utils.clip_grad_norm_(list(self.value.values()), self.config.max_grad_norm))
        self._apply(math.isfinite(norm))

    def _policy_gradient(self, experience: Experience, rows: list[int], totals: Totals) -> None:
        part = experience.sequences.select(rows)
        mask, old, advantages = _cut(part.mask_BR, rows, experience.old_logprobs_BR, experience.advantages_BR)
        new = logprobs(self.models.backbone, POLICY, part, self.config.temperature)
        mask, old, advantages = (t.to(new.device) for t in (mask, old, advantages))
        loss = clipped_policy_loss(new, old, advantages, self.config.clip_range)
        if self.config.dual_clip is not None:
            loss = dual_clip(loss, advantages, self.config.dual_clip)
        token_mean_over(loss, mask, totals.num_tokens).backward()
        ratio = ((new - old).detach() * mask).exp()
        totals.ratio_deviation = max(totals.ratio_deviation, float((ratio - 1).abs().max()))
        totals.add("loss/policy_avg", loss, mask)
        totals.add("policy/approxkl_avg", kl_k3(old, new.detach()), mask)
        totals.add("val/ratio", ratio, mask)
        totals.sums["policy/clipfrac_avg"] = (
            totals.sums.get("policy/clipfrac_avg", 0.0)
            + float(clip_fraction(new.detach(), old, advantages, self.config.clip_range, mask))
            * int(mask.sum())
            / totals.num_tokens
        )

    def _value_gradient(
        self, config: Config, experience: Experience, rows: list[int], totals: Totals, clip_range: float
    ) -> None:
        head = self.models.value_head
        assert head is not None and config.value_coef is not None, "this value model is an adapter"
        part = experience.sequences.select(rows)
        mask, old, returns = _cut(part.mask_BR, rows, experience.values_BR, experience.returns_BR)
        new = values(self.models.backbone, VALUE, head, part)
        mask, old, returns = (t.to(new.device) for t in (mask, old, returns))
        loss = clipped_value_loss(new, old, returns, clip_range)
        (config.value_coef * token_mean_over(loss, mask, totals.num_tokens)).backward()
        totals.add("loss/value_avg", loss, mask)

    def _ptx_gradient(self, rows: Sequence[Encoded], totals: Totals) -> None:
        """The loss of given answers, so that what SFT taught is not unlearnt; a mean over their tokens."""
        loss = -encoded_logprobs(self.models.backbone, POLICY, rows).mean()
        (self.config.ptx_coef * loss).backward()
        totals.sums["loss/ptx_avg"] = float(loss.detach())

    def _apply(self, usable: bool) -> None:
        """Step, unless the loss or a gradient is not a number; several such steps in a row end the run."""
        if usable:
            self.optimizer.step()
            self.skipped_in_a_row = 0
        else:
            self.num_skipped += 1
            self.skipped_in_a_row += 1
        self.optimizer.zero_grad(set_to_none=True)
        if self.skipped_in_a_row >= MAX_SKIPPED:
            raise StageFailed(
                f"the loss or its gradient was not finite {MAX_SKIPPED} times in a row",
                where=self.config.algorithm,
                remedy="lower learning_rate, or check the reward model's scores",
            )


def _cut(mask: Tensor, rows: list[int], *tensors: Tensor) -> tuple[Tensor, ...]:
    """The rows of [B, R] tensors, as wide as their own longest completion."""
    return mask, *(tensor[rows][:, : mask.shape[1]] for tensor in tensors)
