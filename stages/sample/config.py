"""What sample takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, SaveSteps, StageConfig
from stages.modeling.memory import training_estimate


class Config(StageConfig):
    """Who answers, who ranks, and how often each prompt is answered."""

    produces: ClassVar[Role] = "comparisons"

    policy: Annotated[str, Input(role="policy")]  # answers
    reward: Annotated[str | None, Input(role="reward", default="only")] = None  # ranks; none: left to people
    data: Annotated[Names, Input(records="prompt")]  # both sides of the split: the rows keep their prompt's side
    max_prompts: int | None = Field(None, gt=0)  # that many at random, by the seed; left out: all
    num_samples_per_prompt: int = Field(4, gt=1)  # more: a wider choice, in proportion slower (Guo et al. 2024: 2)
    temperature: float = Field(1.0, gt=0)  # 1 is the policy's own distribution
    max_new_tokens: int = Field(128, gt=0)  # an answer that is longer is left out
    tie_margin: float = Field(0.0, ge=0)  # answers scored this close below the best of a rank share that rank
    batch_size: int = Field(8, gt=0)  # prompts answered together, each num_samples_per_prompt times
    num_shown: int = Field(10, ge=0)  # prompts in the report
    save_steps: SaveSteps = 5  # batches


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training; a policy and a reward model."""
    return training_estimate(model, 0, num_trained=0, num_frozen=2)
