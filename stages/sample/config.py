"""What sample takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, SaveSteps, Saving
from stages.modeling.memory import PROMPT, Answering, training_estimate


class Config(Saving):
    """Who answers, who ranks, and how often each prompt is answered."""

    produces: ClassVar[Role] = "comparisons"
    revision: ClassVar[int] = 5

    policy: Annotated[str, Input(role="policy")]  # answers
    reward: Annotated[Names | None, Input(role="reward", default="only")] = None  # ranks; [] leaves that to people
    data: Annotated[Names, Input(records="prompt")]  # both sides of the split: the rows keep their prompt's side
    max_prompts: int | None = Field(None, gt=0)  # that many at random, by the seed; left out: all
    num_samples_per_prompt: int = Field(4, gt=1)  # more: a wider choice, in proportion slower (Guo et al. 2024: 2)
    temperature: float = Field(1.0, gt=0)  # 1 is the policy's own distribution
    max_new_tokens: int = Field(128, gt=0)  # an answer that is longer is left out
    tie_margin: float = Field(0.0, ge=0)  # answers scored this close below the best of a rank share that rank
    batch_size: int = Field(8, gt=0)  # prompts answered together, each num_samples_per_prompt times
    num_shown: int = Field(10, ge=0)  # prompts in the report
    save_steps: SaveSteps = 5  # batches

    @model_validator(mode="after")
    def _one_ranks(self) -> Self:
        if isinstance(self.reward, tuple) and len(self.reward) > 1:
            raise ValueError(f"one reward model ranks, and {len(self.reward)} are named")
        return self


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training; a policy and a reward model."""
    answering = Answering(config.batch_size * config.num_samples_per_prompt, PROMPT, config.max_new_tokens)
    return training_estimate(model, 0, num_trained=0, num_frozen=1 + bool(config.reward), answering=answering)
