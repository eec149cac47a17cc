"""What evaluate takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, StageConfig
from stages.modeling.memory import training_estimate


class Config(StageConfig):
    """Which candidates, judged by what, on which prompts."""

    produces: ClassVar[Role] = "evaluation"
    revision: ClassVar[int] = 6

    candidates: Annotated[tuple[str, ...], Input(role="policy")] = Field(min_length=1)  # the first is the baseline
    reward: Annotated[str | None, Input(role="reward", default="only")] = None  # scores the answers; PPO's proxy
    second_reward: Annotated[str | None, Input(role="reward")] = None  # trained on other prompts; nothing optimised it
    reference: Annotated[str | None, Input(role="policy")] = None  # KL is measured to it; left out: no KL
    data: Annotated[Names, Input(records="prompt")]
    max_prompts: int | None = Field(None, gt=0)  # left out: all held-out prompts
    max_new_tokens: int = Field(128, gt=0)
    temperature: float = Field(0.0, ge=0)  # 0: greedy, one answer a prompt, what a deployed model would say
    batch_size: int = Field(32, gt=0)  # prompts answered together
    num_shown: int = Field(20, ge=0)  # prompts in the report


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training, one model loaded."""
    return training_estimate(model, 0, num_trained=0, num_frozen=len(config.candidates) + 1)
