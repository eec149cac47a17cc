"""What lm-eval takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, StageConfig
from stages.modeling.memory import EXAMPLE, PROMPT, Answering, training_estimate

LONGEST = 256  # tokens of an answer, unless a task says otherwise (lm-eval's max_gen_toks)


class Config(StageConfig):
    """Which candidates, on which tasks."""

    produces: ClassVar[Role] = "evaluation"

    candidates: Annotated[tuple[str, ...], Input(role="policy")] = Field(min_length=1)
    tasks: tuple[str, ...] = Field(min_length=1)  # as lm-eval calls them: its own, most of them from the hub, or yours
    task_files: Annotated[Names | None, Input(records="any")] = None  # data sources that are folders of its YAML files
    num_fewshot: int | None = Field(None, ge=0)  # left out: as each task says
    limit: int | None = Field(None, gt=0)  # documents a task, the first ones; for a trial, never for a figure
    apply_chat_template: bool = True  # ask as a chat, as the candidates were tuned; lm-eval's own default is not to
    batch_size: int = Field(8, gt=0)  # more are faster on a GPU, and take memory

    def foreign_code(self) -> Mapping[str, str]:
        """A task file may name Python functions beside it (`!function`), which lm-eval loads and calls."""
        named = (self.task_files,) if isinstance(self.task_files, str) else self.task_files or ()
        return {"task_files": f"what the task files of {', '.join(named)} name"} if named else {}


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Memory foretold: no training, one model loaded; lm-eval makes logits of every token that it reads."""
    prompt = PROMPT + EXAMPLE * (config.num_fewshot or 0)
    logits = config.batch_size * prompt * 10  # bytes: in bfloat16, in float32, and their log-softmax
    answering = Answering(config.batch_size, prompt, LONGEST, logits)
    return training_estimate(model, 0, num_trained=0, num_frozen=len(config.candidates) + 1, answering=answering)
