"""What ppo takes and gives. Sources of the defaults: Huang et al. 2024, Ziegler et al. 2019, Ouyang et al. 2022."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

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
    check_reward: Annotated[str | None, Input(role="reward")] = None  # a second reward model: watched, never optimised
    data: Annotated[Names, Input(records="prompt")]

    # gae: PPO with a value model. rloo, grpo: no value model, an answer is compared with the others to its prompt.
    advantage: Literal["gae", "rloo", "grpo"] = "gae"
    num_samples_per_prompt: int = Field(1, gt=0)  # answers to each prompt of a batch; rloo and grpo need 2 or more
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
    kl_target: float | None = Field(None, gt=0)  # nats an answer: kl_coef is then steered to hold it (Ziegler 2019)
    kl_horizon: int = Field(10_000, gt=0)  # episodes; more steer more slowly (Ziegler et al. 2019)
    target_kl: float | None = Field(None, gt=0)  # nats; a batch is left early when old and new policy differ more
    gamma: float = Field(1.0, gt=0, le=1)  # 1: an answer is one episode, nothing is discounted
    gae_lambda: float = Field(0.95, ge=0, le=1)
    clip_range: float = Field(0.2, gt=0)  # of the probability ratio
    dual_clip: float | None = Field(None, gt=1)  # caps the loss of bad answers at -A times this (Ye et al. 2020: 3)
    clip_range_value: float = Field(0.2, gt=0)  # of the value, in units of the normalised score
    # Epochs on the first batch in which the value model alone learns, unclipped. It starts as the reward model, which
    # has seen whole answers only and is far off in mid-answer: explained variance -6 on the help desk.
    value_warmup_epochs: int = Field(4, ge=0)
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
        if self.rollout_batch_size % self.num_samples_per_prompt:
            raise ValueError(
                f"rollout_batch_size {self.rollout_batch_size} must divide into prompts of num_samples_per_prompt "
                f"{self.num_samples_per_prompt} answers"
            )
        if self.advantage != "gae" and self.num_samples_per_prompt < 2:
            raise ValueError(
                f"advantage {self.advantage} compares answers to one prompt: num_samples_per_prompt 2 or more"
            )
        if self.kl_target is not None and 0.2 * self.rollout_batch_size >= self.kl_horizon:
            raise ValueError(
                f"kl_horizon {self.kl_horizon} must be above a fifth of rollout_batch_size {self.rollout_batch_size}"
            )
        return self

    @property
    def algorithm(self) -> str:
        """What the report calls this run."""
        return "ppo" if self.advantage == "gae" else self.advantage

    @property
    def num_iterations(self) -> int:
        return -(-self.total_episodes // self.rollout_batch_size)


class RlooConfig(Config):
    """REINFORCE leave-one-out: the same loop without a value model."""

    advantage: Literal["rloo"] = "rloo"
    num_samples_per_prompt: int = Field(4, gt=1)  # Ahmadian et al. 2024 use 2 and 4
    num_ppo_epochs: int = Field(1, gt=0)  # on-policy; more are clipped as PPO's are


class GrpoConfig(RlooConfig):
    """GRPO: leave-one-out with each prompt's rewards scaled to deviation 1."""

    advantage: Literal["grpo"] = "grpo"  # type: ignore[assignment]


def rates(config: Config, model: ModelConfig) -> tuple[float, float]:
    """The policy's and the value model's learning rates."""
    policy = config.learning_rate or (3e-5 if model.lora else 3e-6)
    return policy, config.value_learning_rate or 3 * policy


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: a policy and a value model are trained, reference and reward only read."""
    tokens = config.per_device_train_batch_size * (config.max_prompt_length + config.max_new_tokens)
    return training_estimate(model, tokens, num_models=_num_models(config, model), keep_logits=False)


def _num_models(config: Config, model: ModelConfig) -> int:
    """Trained models; without LoRA reference and reward model are whole copies too."""
    trained = 2 if config.advantage == "gae" else 1
    return trained if model.lora else trained + 2
