"""What ppo, rloo and grpo take and give.

Sources of the defaults: Huang et al. 2024, Ziegler et al. 2019, Ouyang et al. 2022.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.contract import (
    Estimate,
    Frozen,
    Input,
    LoggingSteps,
    ModelConfig,
    Names,
    Role,
    SaveSteps,
    Saving,
    Unhashed,
)
from stages.modeling.memory import COMPARED, ROWS, Answering, training_estimate


class RewardFunction(Frozen):
    """A program that pays for answers. Its code is not in the fingerprint: `--force` the stage when it changes."""

    function: str = Field(
        pattern=r"^[\w.]+(:\w+)?$",
        description="package.module:name, or a figure of the prompts' task, such as valid_json",
    )
    weight: float = 1.0  # of what it gives, in the sum of all rewards
    timeout: float = Field(10.0, gt=0)  # seconds it may take for one batch of answers


class Loop(Saving):
    """What the three have in common.

    An episode is one prompt and one sampled completion; an iteration collects a batch of them and learns from it.
    """

    produces: ClassVar[Role] = "policy"
    revision: ClassVar[int] = 7
    algorithm: ClassVar[str]  # what the report calls such a run

    policy: Annotated[str, Input(role="policy")]  # what training starts from: an SFT policy
    reference: Annotated[str | None, Input(role="policy", default="policy")] = None  # KL is measured to it
    # What it is trained to please: a reward model, or several as an ensemble. [] for functions alone
    reward: Annotated[Names | None, Input(role="reward", default="only", required=True)] = None
    reward_weight: float = Field(1.0, gt=0)  # of the reward models' score, where functions pay too
    ensemble: Literal["mean", "min", "mean_less_variance"] = "mean"  # what several reward models' scores become
    variance_coef: float = Field(0.1, gt=0)  # of mean_less_variance: raising it distrusts what members quarrel about
    reward_functions: dict[str, RewardFunction] = Field(default_factory=dict)  # by the name they are logged under
    check_reward: Annotated[str | None, Input(role="reward")] = None  # a second reward model: watched, never optimised
    # Go on with a reward model that ordered held-out pairs no better than chance, or than their lengths (gate.py)
    insist_on_reward: Annotated[bool, Unhashed()] = False
    data: Annotated[Names, Input(records="prompt")]
    ptx_data: Annotated[Names | None, Input(records="instruction")] = None  # answers not to be forgotten meanwhile
    ptx_coef: float = Field(0.0, ge=0)  # weight of their loss, nats a token, in each step (Ouyang et al. 2022, eq. 2)

    seed: int | None = Field(None, ge=0, lt=2**31)  # of prompts, samples and minibatches; left out: the recipe's
    num_samples_per_prompt: int = Field(1, gt=0)  # answers to each prompt of a batch; more share the prompt's cost
    total_episodes: int = Field(1024, gt=0)  # rounded up to whole iterations
    rollout_batch_size: int = Field(32, gt=0)  # episodes an iteration; more make advantages less noisy
    num_ppo_epochs: int = Field(4, gt=0)  # passes over each batch (all four sources)
    num_mini_batches: int = Field(1, gt=0)  # optimizer steps a pass
    per_device_train_batch_size: int = Field(8, gt=0)  # episodes a forward at most: more memory, more speed
    max_new_tokens: int = Field(64, gt=0)  # of a completion
    max_prompt_length: int = Field(512, gt=0)  # tokens; a longer prompt is left out and counted
    temperature: float = Field(1.0, gt=0)  # of the sampler and of every log-probability

    learning_rate: float | None = Field(None, gt=0)  # left out: 3e-5 with LoRA, 3e-6 without; falls to 0 linearly
    max_grad_norm: float = Field(1.0, gt=0)  # for the policy and for a value model, apart
    kl_coef: float = Field(0.05, ge=0)  # reward lost a nat of KL to the reference; raising it keeps the policy near
    kl_target: float | None = Field(None, gt=0)  # nats an answer: kl_coef is then steered to hold it (Ziegler 2019)
    kl_horizon: int = Field(10_000, gt=0)  # episodes; more steer more slowly. Read where there is a kl_target
    target_kl: float | None = Field(None, gt=0)  # nats; a batch is left early when old and new policy differ more
    clip_range: float = Field(0.2, gt=0)  # of the probability ratio
    dual_clip: float | None = Field(None, gt=1)  # caps the loss of bad answers at -A times this (Ye et al. 2020: 3)
    score_clip: float = Field(5.0, gt=0)  # in deviations of the normalised score
    missing_eos_penalty: float = Field(1.0, ge=0)  # taken from the score of an answer that did not end

    eval_prompts: int = Field(64, ge=0)  # held-out prompts for the comparison with the reference at the end; 0: none
    num_shown: int = Field(20, ge=0)  # of them in the report
    save_steps: SaveSteps = 1  # iterations
    logging_steps: LoggingSteps = 1  # iterations

    def foreign_code(self) -> dict[str, str]:
        """The reward functions that are not checks of a task."""
        given = {f"reward_functions.{name}": each.function for name, each in self.reward_functions.items()}
        return {key: function for key, function in given.items() if ":" in function}

    @model_validator(mode="after")
    def _rewards_fit(self) -> Self:
        if self.reward == () and not self.reward_functions:
            raise ValueError("nothing pays for an answer: name a reward model or reward_functions")
        num_models = len(self.reward) if isinstance(self.reward, tuple) else 1
        if self.ensemble != "mean" and num_models < 2:
            raise ValueError(f"ensemble {self.ensemble} needs several reward models: reward: [rm, rm-2]")
        if taken := [name for name in self.reward_functions if name.startswith("reward")]:
            raise ValueError(
                f"a reward function cannot be called {taken[0]}: reward models are logged under such names"
            )
        if (self.ptx_coef > 0) != (self.ptx_data is not None):
            raise ValueError("ptx_coef and ptx_data go together: a weight, and the rows it weighs")
        return self

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        batch = f"rollout_batch_size {self.rollout_batch_size}"
        if self.rollout_batch_size % self.num_mini_batches:
            raise ValueError(f"{batch} must divide into num_mini_batches {self.num_mini_batches} equal parts")
        if self.rollout_batch_size % self.num_samples_per_prompt:
            raise ValueError(
                f"{batch} must divide into prompts of num_samples_per_prompt {self.num_samples_per_prompt} answers"
            )
        if self.kl_target is not None and 0.2 * self.rollout_batch_size >= self.kl_horizon:
            raise ValueError(f"kl_horizon {self.kl_horizon} must be above a fifth of {batch}")
        if self.kl_target is not None and self.kl_coef == 0:
            raise ValueError("kl_target steers kl_coef by factors, and kl_coef 0 would stay 0")
        return self

    @property
    def num_iterations(self) -> int:
        return -(-self.total_episodes // self.rollout_batch_size)

    @property
    def micro_batch_size(self) -> int:
        """Episodes a forward: as many as allowed that divide a minibatch into equal parts."""
        minibatch = self.rollout_batch_size // self.num_mini_batches
        return max(size for size in range(1, self.per_device_train_batch_size + 1) if minibatch % size == 0)


# Ziegler et al. 2019 clip values by 0.2 and weigh their loss 0.1; the warm-up is ours.
ADAPTER: dict[str, Any] = {"clip_range_value": 0.2, "value_coef": 0.1, "value_warmup_epochs": 1}


class Config(Loop):
    """PPO: advantages from a value model, by GAE."""

    algorithm: ClassVar[str] = "ppo"

    # adapter: a copy of the reward model that learns on. linear: least squares on the reward model's own states, which
    # are computed anyway: a step costs half as much, and a few hundred answers teach it about as much. Its memory and
    # checkpoint grow with the square of the hidden size: 11 MB at 576, 0.5 GB at 4096
    value_model: Literal["adapter", "linear"] = "adapter"
    value_learning_rate: float | None = Field(None, gt=0)  # left out: 3 times the policy's
    gamma: float = Field(1.0, gt=0, le=1)  # 1: an answer is one episode, nothing is discounted
    gae_lambda: float = Field(0.95, ge=0, le=1)  # 1 trusts no value but the first: wise where values are poor
    # Read by an adapter only; left out, they are ADAPTER's.
    clip_range_value: float | None = Field(None, gt=0)  # of the value, in units of the normalised score
    value_coef: float | None = Field(None, gt=0)
    # Epochs on the first batch in which the value model alone learns, unclipped, after its scale is fitted to it.
    # It starts as the reward model, which has seen whole answers only: in mid-answer on the help desk its scores
    # correlate with what is still earned by 0.00 to 0.05, and explain -6 to -10 of its variance; fitted, about 0. Four
    # epochs more learnt the batch by heart: 11 batches of 16 that followed were explained by -0.03, without by -0.01.
    value_warmup_epochs: int | None = Field(None, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("value_model", "adapter") == "adapter":
            return {**given, **{name: usual for name, usual in ADAPTER.items() if given.get(name) is None}}
        return given

    @model_validator(mode="after")
    def _value_model_fits(self) -> Self:
        if self.value_model == "adapter":
            return self
        if unread := [name for name in (*ADAPTER, "value_learning_rate") if getattr(self, name) is not None]:
            raise ValueError(f"value_model linear does not read {unread[0]}: it is fitted, not stepped")
        if self.reward == ():
            raise ValueError("value_model linear reads the states of a reward model, and there is none: use adapter")
        return self


class RlooConfig(Loop):
    """REINFORCE leave-one-out (Ahmadian et al. 2024): a reward less the mean of those of the prompt's other answers."""

    algorithm: ClassVar[str] = "rloo"

    num_samples_per_prompt: int = Field(4, gt=1)  # they use 2 and 4
    num_ppo_epochs: int = Field(1, gt=0)  # on-policy; further passes are clipped as PPO's are


class GrpoConfig(Loop):
    """GRPO (Shao et al. 2024): scores standardised among the answers to each prompt; the KL penalty is not."""

    algorithm: ClassVar[str] = "grpo"

    num_samples_per_prompt: int = Field(4, gt=1)  # they use 64; more make the standard less noisy
    num_ppo_epochs: int = Field(1, gt=0)  # on-policy; further passes are clipped as PPO's are


def rates(config: Loop, model: ModelConfig) -> tuple[float, float]:
    """The policy's and the value model's learning rates; the second is not read without a value model."""
    policy = config.learning_rate or (3e-5 if model.lora else 3e-6)
    return policy, (isinstance(config, Config) and config.value_learning_rate) or 3 * policy


def estimate(config: Loop, model: ModelConfig) -> Estimate:
    """Memory and disk foretold: policy and value model are trained, reference and reward models only read."""
    rows = min(ROWS, max(config.rollout_batch_size, config.eval_prompts))
    return training_estimate(
        model,
        config.per_device_train_batch_size * (config.max_prompt_length + config.max_new_tokens),
        num_trained=1 + (isinstance(config, Config) and config.value_model == "adapter"),
        num_frozen=1 + len(_names(config.reward)) + (config.check_reward is not None),
        saving=config,
        answering=Answering(rows, config.max_prompt_length, config.max_new_tokens, COMPARED),
    )


def _names(given: Names | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else given
