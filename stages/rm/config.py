"""What rm takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Input, LoggingSteps, ModelConfig, Names, Role, SaveSteps, Saving
from stages.modeling.memory import ROWS, Answering, training_estimate

LossType = Literal["bradley_terry", "soft_bradley_terry", "plackett_luce"]
Ties = Literal["drop", "soft", "rao_kupper"]
READS: dict[tuple[LossType, Ties], tuple[str, ...]] = {  # what goes together, and which further settings it reads
    ("bradley_terry", "drop"): ("label_smoothing",),
    ("bradley_terry", "soft"): ("label_smoothing",),
    ("bradley_terry", "rao_kupper"): ("theta",),
    ("soft_bradley_terry", "drop"): (),
    ("soft_bradley_terry", "soft"): (),
    ("plackett_luce", "drop"): (),
}


class Config(Saving):
    """Keys keep the names of transformers and TRL."""

    produces: ClassVar[Role] = "reward"
    revision: ClassVar[int] = 9

    policy: Annotated[str, Input(role="policy")] = "base"  # where the trunk starts; the SFT policy serves best
    data: Annotated[Names, Input(records="comparison")]
    eval_data: Annotated[Names | None, Input(records="comparison", default="data")] = (
        None  # its held-out side is judged
    )
    # Of every annotator's pairs (Ouyang et al. 2022); of each pair's share of weighted votes; of a ranking as choices.
    loss_type: LossType = "bradley_terry"
    ties: Ties = "drop"  # soft: half a win for each; rao_kupper: a tie has a probability of its own
    label_smoothing: float | None = Field(None, gt=0, lt=0.5)  # the share of rankings believed wrong
    theta: float | None = Field(None, gt=1)  # for rao_kupper: (theta - 1) / (theta + 1) of equally good answers tie
    # Of a head's random start and the order of the data; left out: the recipe's. An ensemble's members differ in it.
    seed: int | None = Field(None, ge=0, lt=2**31)
    learning_rate: float | None = Field(
        None, gt=0
    )  # left out: 1e-4 with LoRA (TRL's), 3e-6 without (Huang et al. 2024)
    head_learning_rate: float = Field(1e-3, gt=0)  # the head starts at random and is one row
    num_train_epochs: int = Field(1, gt=0)  # more than one overfits the few prompts (Ouyang et al. 2022, 3.5)
    max_steps: int | None = Field(None, gt=0)  # optimizer steps; overrides the epochs
    per_device_train_batch_size: int = Field(2, gt=0)  # prompts a forward, each with all its completions
    gradient_accumulation_steps: int = Field(2, gt=0)  # forwards an optimizer step
    max_length: int = Field(1024, gt=1)  # tokens of prompt and completion; a longer comparison is left out and counted
    center_rewards_coefficient: float = Field(0.01, ge=0)  # keeps scores near zero (TRL's key and usual value)
    warmup_ratio: float = Field(0.1, ge=0, le=1)  # of the steps
    max_grad_norm: float = Field(1.0, gt=0)
    normalize_prompts: int = Field(64, ge=0)  # answers sampled from `policy` that get mean 0 and deviation 1; 0: off
    max_new_tokens: int = Field(128, gt=0)  # of those answers
    save_steps: SaveSteps = 20
    logging_steps: LoggingSteps = 1

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        """A setting that the chosen loss does not read would be ignored; one that it needs has no usual value."""
        chosen = (self.loss_type, self.ties)
        if chosen not in READS:
            allowed = ", ".join(ties for loss_type, ties in READS if loss_type == self.loss_type)
            raise ValueError(f"loss_type {self.loss_type} does not read ties {self.ties} (it takes {allowed})")
        for name in ("label_smoothing", "theta"):
            if getattr(self, name) is not None and name not in READS[chosen]:
                raise ValueError(f"loss_type {self.loss_type} with ties {self.ties} does not read {name}")
        if self.theta is None and "theta" in READS[chosen]:
            raise ValueError(f"ties {self.ties} needs theta")
        return self


def rate(config: Config, model: ModelConfig) -> float:
    """The trunk's learning rate: the config's, or the usual one for LoRA or for full fine-tuning."""
    return config.learning_rate or (1e-4 if model.lora else 3e-6)


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory and disk foretold for four completions a prompt."""
    tokens = config.per_device_train_batch_size * 4 * config.max_length
    answering = Answering(min(ROWS, config.normalize_prompts), config.max_length, config.max_new_tokens)
    return training_estimate(model, tokens, num_trained=1, num_frozen=1, saving=config, answering=answering)
