"""What ppo takes and gives. Sources of the defaults: Huang et al. 2024, Ziegler et al. 2019, Ouyang et al. 2022."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Input, LoggingSteps, ModelConfig, Names, Role, SaveSteps, StageConfig
from stages.modeling.memory import training_estimate


class Config(StageConfig):
    """An episode is one prompt and one sampled completion; an iteration collects a batch of them and learns from it."""

    produces: ClassVar[Role] = "policy"
    revision: ClassVar[int] = 1

    policy: Annotated[str, Input(role="policy")]  # what training starts from: an SFT policy
    reference: Annotated[str | None, Input(role="policy", default="policy")] = None  # KL is measured to it
    reward: Annotated[str | None, Input(role="reward", default="only", required=True)] = (
        None  # what it is trained to please
    )
    data: Annotated[Names, Input(records="prompt")]

    total_episodes: int = Field(1024, gt=0)  # rounded up to whole iterations
    rollout_batch_size: int = Field(32, gt=0)  # episodes an iteration; more make advantages less noisy
    num_ppo_epochs: int = Field(4, gt=0)  # passes over each batch (all four sources)
    num_mini_batches: int = Field(1, gt=0)  # optimizer steps a pass
    per_device_train_batch_size: int = Field(8, gt=0)  # episodes a forward; changes memory, not the gradient
    max_new_tokens: int = Field(64, gt=0)  # of a completion
    max_prompt_length: int = Field(512, gt=0)  # tokens; a longer prompt is left out and counted
    temperature: float = Field(1.0, gt=0)  # of the sampler and of every log-probability

    learning_rate: float | None = Field(None, gt=0)  # left out: 3e-5 with LoRA, 3e-6 without; falls to 0 linearly
    value_learning_rate: float | None = Field(None, gt=0)  # left out: 3 times the policy's
    max_grad_norm: float = Field(1.0, gt=0)  # for the policy and for the value model, apart
    kl_coef: float = Field(0.05, ge=0)  # reward lost a nat of KL to the reference; raising it keeps the policy near
    target_kl: float | None = Field(None, gt=0)  # nats; a batch is left early when old and new policy differ more
    gamma: float = Field(1.0, gt=0, le=1)  # 1: an answer is one episode, nothing is discounted
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip_range: float = Field(0.2, gt=0)  # of the probability ratio
    clip_range_value: float = Field(0.2, gt=0)  # of the value, in units of the normalised score
    value_coef: float = Field(0.1, gt=0)
    score_clip: float = Field(5.0, gt=0)  # in deviations of the normalised score
    missing_eos_penalty: float = Field(1.0, ge=0)  # taken from the score of an answer that did not end

    eval_prompts: int = Field(64, ge=0)  # held-out prompts for the comparison with the reference at the end; 0: none
    num_shown: int = Field(20, ge=0)  # of them in the report
    save_steps: SaveSteps = 1  # iterations
    logging_steps: LoggingSteps = 1  # iterations

    @model_validator(mode="after")
    def _sizes_fit(self) -> Config:
        if self.rollout_batch_size % self.num_mini_batches:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} must divide into num_mini_batches "
                f"{self.num_mini_batches} equal parts"
            )
        return self

    @property
    def num_iterations(self) -> int:
        return -(-self.total_episodes // self.rollout_batch_size)


def rates(config: Config, model: ModelConfig) -> tuple[float, float]:
    """The policy's and the value model's learning rates."""
    policy = config.learning_rate or (3e-5 if model.lora else 3e-6)
    return policy, config.value_learning_rate or 3 * policy


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: a policy and a value model are trained, reference and reward only read."""
    tokens = config.per_device_train_batch_size * (config.max_prompt_length + config.max_new_tokens)
    return training_estimate(model, tokens, num_models=2 if model.lora else 4, keep_logits=False)
