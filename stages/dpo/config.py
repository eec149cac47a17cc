"""What dpo takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Input, LoggingSteps, ModelConfig, Names, Role, SaveSteps, Saving
from stages.modeling.memory import COMPARED, ROWS, Answering, training_estimate

Loss = Literal[
    "sigmoid", "sigmoid_norm", "length_margin", "cdpo", "robust", "hinge", "ipo", "ipo_sum", "apo_zero", "apo_down",
    "sppo_hard", "nca_pair", "bco_pair",
]  # fmt: skip


READ_BY: dict[str, tuple[Loss, ...]] = {"label_smoothing": ("cdpo", "robust"), "alpha": ("length_margin",)}


class Config(Saving):
    """Keys keep the names of transformers and TRL."""

    produces: ClassVar[Role] = "policy"
    revision: ClassVar[int] = 6
    distributed: ClassVar[bool] = True

    policy: Annotated[str, Input(role="policy")]  # what training starts from: an SFT policy
    reference: Annotated[str | None, Input(role="policy", default="policy")] = None  # what it is held near
    data: Annotated[Names, Input(records="comparison")]
    beta: float = Field(0.1, gt=0)  # raising it holds the policy nearer to the reference (Rafailov et al. 2023)
    loss_type: Loss = "sigmoid"  # see stages/objectives/dpo.py
    label_smoothing: float | None = Field(None, gt=0, lt=0.5)  # for cdpo, robust: the share of rankings believed wrong
    alpha: float | None = Field(None, ge=0)  # for length_margin: nats a token by which a longer winner must win more
    sft_weight: float = Field(0.0, ge=0)  # adds that much of the chosen answers' own loss, against their collapse
    pairs_per_prompt: int | None = Field(None, gt=0)  # the pairs furthest apart in rank first; left out: all
    learning_rate: float | None = Field(None, gt=0)  # left out: 1e-5 with LoRA, 1e-6 without (TRL's)
    num_train_epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, gt=0)
    per_device_train_batch_size: int = Field(2, gt=0)  # pairs a forward
    gradient_accumulation_steps: int = Field(4, gt=0)
    max_length: int = Field(1024, gt=1)  # tokens; a longer pair is left out and counted
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False
    eval_prompts: int = Field(32, ge=0)  # held-out prompts answered by the input and the output at the end
    sampled_prompts: int = Field(16, ge=0)  # as many of them are also answered by sampling, for length and KL
    max_new_tokens: int = Field(128, gt=0)  # of those answers
    save_steps: SaveSteps = 20
    logging_steps: LoggingSteps = 1

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        """A setting that the chosen loss does not read would be ignored; one that it needs has no usual value."""
        for name, readers in READ_BY.items():
            given = getattr(self, name) is not None
            if given != (self.loss_type in readers):
                verb = "does not read" if given else "needs"
                raise ValueError(f"loss_type {self.loss_type} {verb} {name} (read by {', '.join(readers)})")
        return self


def rate(config: Config, model: ModelConfig) -> float:
    """The learning rate used."""
    return config.learning_rate or (1e-5 if model.lora else 1e-6)


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory and disk foretold: both answers of each pair, with their logits; without LoRA also a whole reference."""
    tokens = 2 * config.per_device_train_batch_size * config.max_length
    answering = Answering(min(ROWS, config.eval_prompts), config.max_length, config.max_new_tokens, COMPARED)
    return training_estimate(model, tokens, num_trained=1, num_frozen=1, saving=config, answering=answering)
