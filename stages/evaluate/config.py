"""What evaluate takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Frozen, Input, ModelConfig, Names, Problem, Role, StageConfig, TaskConfig
from stages.modeling.memory import COMPARED, EXAMPLE, PROMPT, Answering, training_estimate


class Endpoint(Frozen):
    """An OpenAI-compatible server that answers chats: vLLM's, `transformers serve`, or a company's."""

    base_url: str = Field(
        pattern=r"^https?://[^@]+$", description="an address such as http://localhost:8000/v1, without a password"
    )  # up to and with /v1; messages quote it
    model: str = Field(min_length=1)  # as the server calls it
    api_key_env: str | None = Field(
        None,
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="the name of the environment variable that holds the key, not the key, such as OPENAI_API_KEY",
    )
    timeout: float = Field(60.0, gt=0)  # seconds a call
    max_retries: int = Field(3, ge=0)  # after no connection, no answer in time, a 429 or a 5xx
    num_parallel: int = Field(4, gt=0)  # calls at once


class Baseline(Frozen):
    """A way of asking that needs no training, or another server's model: what tuning has to beat."""

    policies: Names | None = None  # of the candidates; left out: the first
    system: str | None = None  # said first, as the system turn
    num_examples: int = Field(0, ge=0)  # of `examples`, as turns before the prompt (few-shot)
    pick: Literal["nearest", "random"] = "nearest"  # examples by BM25 on the prompt, or the same ones at random for all
    num_passages: int = Field(0, ge=0)  # of `documents`, found by BM25 and put before the question (retrieval)
    best_of: int = Field(1, gt=0)  # answers sampled at temperature 1, of which `reward` picks one
    endpoint: Endpoint | None = None  # instead of a policy

    @model_validator(mode="after")
    def _one_answers(self) -> Self:
        if self.endpoint is not None and self.policies is not None:
            raise ValueError("policies and an endpoint are both named -> keep one: either answers")
        plain = self.system is None and not self.num_examples and not self.num_passages and self.best_of == 1
        if plain and self.endpoint is None:
            raise ValueError("asks as the candidates are asked -> add system, num_examples, num_passages or best_of")
        return self


class Judge(Endpoint):
    """A language model that says which of two answers is better; asked in both orders, it must say the same twice."""

    criterion: str = "more helpful, correct and to the point"  # "the better answer is the one that is ..."
    max_prompts: int | None = Field(None, gt=0)  # the first so many questions; left out: all


class Price(Frozen):
    """What a call costs: by tokens, as servers charge, or by the time that it takes on a machine of your own."""

    prompt_tokens: float = Field(0.0, ge=0)  # a million of them
    new_tokens: float = Field(0.0, ge=0)  # a million of them
    hour: float = Field(0.0, ge=0)  # of the machine that answers, and that trained


class Config(StageConfig):
    """Which candidates, judged by what, on which prompts."""

    produces: ClassVar[Role] = "evaluation"
    revision: ClassVar[int] = 9

    candidates: Annotated[tuple[str, ...], Input(role="policy")] = Field(min_length=1)  # the first is the baseline
    baselines: dict[str, Baseline] = Field(default_factory=dict)  # by name: "base + few_shot" in every table
    examples: Annotated[Names | None, Input(records="instruction")] = None  # those of training, for num_examples
    documents: Annotated[Names | None, Input(records="document")] = None  # for num_passages
    reward: Annotated[str | None, Input(role="reward", default="only")] = None  # scores the answers; PPO's proxy
    second_reward: Annotated[str | None, Input(role="reward")] = None  # trained on other prompts; nothing optimised it
    judge: Judge | None = None  # each candidate's answers against the first one's
    reference: Annotated[str | None, Input(role="policy")] = None  # KL is measured to it; left out: no KL
    data: Annotated[Names, Input(records="prompt")]
    general: Annotated[Names | None, Input(records="instruction")] = None  # what tuning was not meant to change
    primary: str | None = None  # the figure that the verdict is about; left out: the first that the tasks give
    prices: dict[str, Price] = Field(default_factory=dict)  # by candidate; `default` for those not named
    max_prompts: int | None = Field(None, gt=0)  # left out: all held-out prompts
    max_new_tokens: int = Field(128, gt=0)
    temperature: float = Field(0.0, ge=0)  # 0: greedy, one answer a prompt, what a deployed model would say
    batch_size: int = Field(32, gt=0)  # prompts answered together
    num_shown: int = Field(20, ge=0)  # prompts in the report

    @model_validator(mode="after")
    def _baselines_fit(self) -> Self:
        for name, baseline in self.baselines.items():
            if baseline.num_examples and self.examples is None:
                raise ValueError(f"baselines.{name} has num_examples -> name their data: examples: instructions")
            if baseline.num_passages and self.documents is None:
                raise ValueError(f"baselines.{name} has num_passages -> name their data: documents: ...")
        return self

    def problem(self, tasks: Mapping[str, Sequence[TaskConfig]]) -> Problem | None:
        """Baselines of nobody, prices for nobody, and a primary figure that nobody can have."""
        from stages.evaluate.foretold import problem

        return problem(self, tasks["data"])


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training; candidates, both reward models, and the longest prompts that baselines write."""
    others = (config.reward, config.second_reward, config.reference)
    added = [way.num_examples + way.num_passages for way in config.baselines.values() if way.endpoint is None]
    prompt = PROMPT + EXAMPLE * max(added, default=0)
    return training_estimate(
        model,
        0,
        num_trained=0,
        num_frozen=len(config.candidates) + sum(name is not None for name in others),
        answering=Answering(config.batch_size, prompt, config.max_new_tokens, COMPARED),
    )
