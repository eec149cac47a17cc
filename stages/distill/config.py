"""What distill takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, SaveSteps, Saving
from stages.modeling.memory import PROMPT, Answering, training_estimate


class Config(Saving):
    """Who teaches, what the teacher is told, and which of its answers become rows."""

    produces: ClassVar[Role] = "rows"

    policy: Annotated[str, Input(role="policy")] = "base"  # the teacher; whoever is tuned on the rows is the student
    data: Annotated[Names, Input(records="prompt")]  # both sides of the split: the rows keep their prompt's side
    # Told to the teacher alone, above a prompt's own system turn.
    system: str = Field(pattern=r"\S", description="a text that is not blank")
    max_prompts: int | None = Field(None, gt=0)  # that many at random, by the seed; left out: all
    num_samples_per_prompt: int = Field(1, gt=0)  # more rows from few prompts; equal answers become one
    temperature: float = Field(1.0, ge=0)  # 1 is the teacher's own distribution; 0: the one answer it would give
    max_new_tokens: int = Field(128, gt=0)  # an answer that is longer is left out
    only_passing: bool = False  # leave out answers that fail a check of their source's task
    batch_size: int = Field(16, gt=0)  # prompts answered together, each num_samples_per_prompt times
    num_shown: int = Field(10, ge=0)  # prompts in the report
    save_steps: SaveSteps = 5  # batches

    @model_validator(mode="after")
    def _samples_differ(self) -> Self:
        if self.temperature == 0 and self.num_samples_per_prompt > 1:
            raise ValueError(
                f"temperature 0 gives one answer {self.num_samples_per_prompt} times "
                "-> raise temperature, or leave num_samples_per_prompt at 1"
            )
        return self


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training; one policy."""
    answering = Answering(config.batch_size * config.num_samples_per_prompt, PROMPT, config.max_new_tokens)
    return training_estimate(model, 0, num_trained=0, num_frozen=1, answering=answering)
