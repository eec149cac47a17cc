"""What sft takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pipeline.contract import Estimate, Input, LoggingSteps, ModelConfig, Names, Role, Saving
from stages.modeling.memory import ROWS, Answering, training_estimate


class Config(Saving):
    """Keys keep the names of transformers and TRL."""

    produces: ClassVar[Role] = "policy"
    revision: ClassVar[int] = 6
    distributed: ClassVar[bool] = True

    policy: Annotated[str, Input(role="policy")] = "base"  # what training starts from
    data: Annotated[Names, Input(records="instruction or text")]  # of a text every token is learnt
    learning_rate: float | None = Field(None, gt=0)  # left out: 2e-4 with LoRA (TRL's example), 2e-5 without
    num_train_epochs: float = Field(2.0, gt=0)  # passes over the data; more than 3 memorises a few hundred rows
    max_steps: int | None = Field(None, gt=0)  # optimizer steps; overrides the epochs
    per_device_train_batch_size: int = Field(4, gt=0)  # rows a forward; raising it costs memory
    gradient_accumulation_steps: int = Field(2, gt=0)  # forwards an optimizer step
    # Tokens a row (TRL's default); a longer conversation is cut at its end, a longer text becomes several rows.
    max_length: int = Field(1024, gt=1)
    packing: bool = False  # an item of a batch is as many rows as fit max_length: steps of more even size
    loss_on: Literal["completion", "assistant"] = "completion"  # the last assistant turn, or all of them
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False  # less memory, about a third more time
    eval_prompts: int = Field(32, ge=0)  # held-out prompts answered by the input and the output model at the end
    max_new_tokens: int = Field(128, gt=0)  # of those answers
    logging_steps: LoggingSteps = 1


def rate(config: Config, model: ModelConfig) -> float:
    """The learning rate used: the config's, or the usual one for LoRA or for full fine-tuning."""
    return config.learning_rate or (2e-4 if model.lora else 2e-5)


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory and disk foretold from the model's size on disk, if it is there, and the batch."""
    tokens = config.per_device_train_batch_size * config.max_length
    answering = Answering(min(ROWS, config.eval_prompts), config.max_length, config.max_new_tokens)
    return training_estimate(model, tokens, num_trained=1, saving=config, answering=answering)
