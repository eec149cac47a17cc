"""Kind `toy`: a policy and instructions -> a policy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.contract import Estimate, Input, LoggingSteps, ModelConfig, Names, Role, SaveSteps, StageConfig, Unhashed


class ToyConfig(StageConfig):
    """What all toy kinds share. What a test changes between two attempts at one artifact is unhashed."""

    data: Annotated[Names, Input(records="instruction")]
    steps: int = Field(6, gt=0)
    learning_rate: float = Field(2e-4, gt=0)
    save_steps: SaveSteps = 2
    logging_steps: LoggingSteps = 1
    pause: Annotated[float, Unhashed()] = 0.0  # seconds a step takes
    fail: Annotated[Literal["no", "bug", "user", "memory", "status", "disk"], Unhashed()] = "no"
    fail_at: Annotated[int, Unhashed()] = 1  # the step before which it fails


class Config(ToyConfig):
    """A policy from a policy."""

    distributed: ClassVar[bool] = True
    produces: ClassVar[Role] = "policy"
    policy: Annotated[str, Input(role="policy")] = "base"


def estimate(config: ToyConfig, model: ModelConfig) -> Estimate:
    """A note, so that `plan` has one to show."""
    return Estimate(disk_gb=1e-6, notes=(f"{config.steps} steps",))
