"""Where a PPO run stands, and how a checkpoint keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contract import Context
from stages.checkpoint import state as checkpoint
from stages.checkpoint import store
from stages.objectives.kl import AdaptiveKL, FixedKL, KLController
from stages.ppo.config import Loop
from stages.ppo.experience import Experience
from stages.ppo.update import Updater


@dataclass
class Position:
    """Where a run stands; with the parameters and the optimizer, all that determines what comes next."""

    kl: KLController
    iteration: int = 0
    epoch: int = 0
    minibatch: int = 0
    experience: Experience | None = None  # the rollout in use, in the middle of an iteration
    metrics: dict[str, list[float]] | None = None  # of the iteration so far
    history: list[dict[str, float]] = field(default_factory=list)  # of the iterations so far
    alarms: dict[str, str] = field(default_factory=dict)  # raised so far

    def write(self, updater: Updater, folder: Path) -> None:
        """Into a checkpoint, with all else that determines what comes next."""
        state: dict[str, Any] = {
            "arithmetic": updater.models.backbone.arithmetic,
            "policy": checkpoint.tensors(updater.policy),
            "value": checkpoint.tensors(updater.value),
            "value_scale": checkpoint.tensors(updater.value_scale),
            "critic": updater.models.critic.state() if updater.models.critic else None,
            "optimizer": updater.optimizer.state_dict(),
            "skipped": [updater.num_skipped, updater.skipped_in_a_row],
            "position": [self.iteration, self.epoch, self.minibatch],
            "experience": self.experience.state() if self.experience else None,
            "metrics": self.metrics,
            "kl_coef": self.kl.coef,
            "history": self.history,
            "alarms": self.alarms,
        }
        checkpoint.write(folder, state)

    @classmethod
    def resume(cls, config: Loop, context: Context, updater: Updater) -> Position:
        """The newest good checkpoint's, with the parameters and the optimizer as they were; else the start."""
        found = store.newest(context.checkpoints, context.say)
        if found is None:
            context.rewind(0)
            return cls(_controller(config, config.kl_coef))
        with checkpoint.reading(found[1], updater.models.backbone.arithmetic, context) as state:
            checkpoint.restore(updater.policy, state["policy"])
            checkpoint.restore(updater.value, state["value"])
            checkpoint.restore(updater.value_scale, state["value_scale"])
            if updater.models.critic:
                updater.models.critic.restore(state["critic"])
            checkpoint.restore_optimizer(updater.optimizer, state["optimizer"])
            updater.num_skipped, updater.skipped_in_a_row = state["skipped"]
            iteration, epoch, minibatch = (int(number) for number in state["position"])
            experience = Experience(**state["experience"]) if state["experience"] else None
            kl = _controller(config, float(state["kl_coef"]))
            kept = state["metrics"], state["history"], state["alarms"]
        context.rewind(iteration)
        context.say(f"going on from iteration {iteration}, epoch {epoch}, minibatch {minibatch}")
        return cls(kl, iteration, epoch, minibatch, experience, *kept)


def _controller(config: Loop, coef: float) -> KLController:
    """What steers the KL coefficient from here on."""
    if config.kl_target is None:
        return FixedKL(coef)
    return AdaptiveKL(coef, config.kl_target, config.kl_horizon)
