"""What collect takes and gives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, SaveSteps, Saving, Unhashed
from stages.modeling.memory import PROMPT, Answering, training_estimate

ANNOTATOR = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")  # it becomes part of a file's name
INSTRUCTIONS = (
    "Read the conversation, then all answers. Give 1 to the best answer, 2 to the next one, and so on; equally good "
    "answers get the same number. Judge whether the answer does what was asked, is true and is pleasant to read; a "
    "longer answer is not a better one. Skip a task that you cannot judge, and say why."
)


class Config(Saving):
    """Who answers, who ranks, and how the work is dealt out."""

    produces: ClassVar[Role] = "batch"
    revision: ClassVar[int] = 1

    policies: Annotated[Names | None, Input(role="policy")] = None  # each answers every prompt; nobody is shown which
    data: Annotated[Names | None, Input(records="prompt")] = None  # both sides: the rows keep their prompt's side
    gold: Annotated[Names | None, Input(records="comparison")] = None  # comparisons with a known order, mixed in
    reward: Annotated[Names | None, Input(role="reward")] = None  # foretells the answers' scores, for `select: gap`
    earlier: Annotated[Names | None, Input(records="comparison")] = None  # ranked before, for `select: disagreement`
    annotators: tuple[str, ...] = Field(min_length=1)  # names, as they will stand in the rankings
    num_tasks: int | None = Field(None, gt=0)  # prompts to be ranked; left out: all
    select: Literal["random", "gap", "disagreement"] = "random"  # which of them; see stages/agreement/select.py
    num_samples_per_prompt: int = Field(2, gt=0)  # answers of each policy
    num_completions: int = Field(4, ge=2, le=10)  # shown in a task at most (Ouyang et al. 2022: 4 to 9)
    temperature: float = Field(1.0, gt=0)  # 1 is the policy's own distribution
    max_new_tokens: int = Field(128, gt=0)  # an answer that is longer is left out
    batch_size: int = Field(8, gt=0)  # prompts answered together
    # Share of the tasks that several people rank, which tells how they agree; left out: 0.2, or all of fewer than 300.
    overlap: float | None = Field(None, ge=0, le=1)
    overlap_annotators: int = Field(3, gt=1)  # how many people, where there are so many
    gold_fraction: float = Field(0.05, ge=0, le=0.5)  # gold tasks an annotator, beside the others; at least 5
    repeat_fraction: float = Field(0.02, ge=0, le=0.5)  # tasks that an annotator sees a second time
    title: str = "Which answer is better?"
    instructions: str = INSTRUCTIONS  # plain text, shown to annotators
    # Answers that end the wait: rankings, skips and flags, gold and repeats not counted. Left out: one to every task.
    min_rankings: Annotated[int | None, Field(gt=0), Unhashed()] = None
    save_steps: SaveSteps = 5  # batches

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        for name in self.annotators:
            if not ANNOTATOR.fullmatch(name):
                raise ValueError(f"the annotator's name {name!r} may hold letters, digits, '.', '_', '@' and '-' only")
        folded = [name.casefold() for name in self.annotators]
        if len(set(folded)) < len(folded):
            raise ValueError("two annotators have one name")
        if (self.select == "gap") != bool(self.reward):
            raise ValueError("select: gap and reward go together: it chooses by the reward model's scores")
        if (self.select == "disagreement") != bool(self.earlier):
            raise ValueError("select: disagreement and earlier go together: it asks again what people differed on")
        asked_anew = self.select == "disagreement"
        for name in ("policies", "data"):
            if bool(getattr(self, name)) == asked_anew:
                what = "is not read" if asked_anew else "is needed"
                raise ValueError(f"{name} {what} where select is {self.select}")
        if self.reward and not isinstance(self.reward, str) and len(self.reward) > 1:
            raise ValueError(f"one reward model foretells, and {len(self.reward)} are named")
        return self

    def missing(self, output: Path, returned: Path) -> str:
        """How many answers have still to come in."""
        from stages.collect.returned import missing

        return missing(output, returned, self.min_rankings)


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training; the policies and perhaps a reward model."""
    num_policies = 1 if isinstance(config.policies, str) else len(config.policies or ())
    rows = config.batch_size * config.num_samples_per_prompt if num_policies else 0
    answering = Answering(rows, PROMPT, config.max_new_tokens)
    num_frozen = num_policies + bool(config.reward)
    return training_estimate(model, 0, num_trained=0, num_frozen=num_frozen, answering=answering)
