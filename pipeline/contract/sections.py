"""What a recipe says besides its stages, and every stage is told: the model, the data, the tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from pipeline.contract.config import Frozen
from pipeline.redaction import hide_home


def _names_something(text: str) -> str:
    """A path under the home folder is kept as ~/...: it goes into files that people pass on."""
    if "\0" in text or text == "package:":
        raise ValueError(f"{text!r} names nothing")
    return hide_home(text)


NamedPath = Annotated[str, Field(min_length=1), AfterValidator(_names_something)]


class LoraConfig(Frozen):
    """Low-rank adapters (Hu et al. 2021). The names are peft's."""

    r: int = Field(16, gt=0)  # rank; more can fit more, and costs memory (TRL's SFT example: 16)
    alpha: float = Field(32, gt=0)  # the update is scaled by alpha / r
    dropout: float = Field(0.0, ge=0, lt=1)  # PPO needs 0: dropout makes old and new log-probabilities differ
    target_modules: str | tuple[str, ...] = "all-linear"  # peft's rule: every linear layer but the head


class ModelConfig(Frozen):
    """The base model every stage of a recipe starts from."""

    model_name_or_path: NamedPath  # a hub id, a folder, or package:<name>
    revision: str | None = None  # a hub commit, tag or branch
    # auto: under LoRA bfloat16 if the GPU or CPU multiplies it, which plan says; where every weight is trained float32,
    # cast to bfloat16 for each product if it does. float32 and bfloat16 hold for weights and products alike
    dtype: Literal["float32", "bfloat16", "auto"] = "auto"
    lora: LoraConfig | None = None  # left out: every weight is trained
    trust_remote_code: bool = False  # runs code from the model's repository; leave off unless you read it
    attn_implementation: Literal["sdpa", "eager"] | None = None  # left out: our own, without padding


class DataSource(Frozen):
    """Where rows come from and how they are read."""

    model_config = ConfigDict(serialize_by_alias=True)

    path: NamedPath | None = None  # a file, a glob, or a hub id
    from_stage: str | None = Field(None, alias="from")  # instead of a path: the stage that writes the rows
    format: str | None = None  # left out: found by looking at the rows
    map: dict[str, str] = Field(default_factory=dict)  # our field name -> the column that holds it
    # of several, the one to read: a workbook's sheet, a key of a JSON object, or a hub data set's configuration
    table: str | None = None
    task: str | None = None  # a name under `tasks:`
    hub_split: str = "train"  # which split of a hub data set to read
    revision: str | None = None  # of a hub data set
    split: Literal["train", "heldout", "all"] | None = None  # left out: training reads train, evaluation heldout
    part: str | None = Field(
        None, pattern=r"^[1-9][0-9]*/[1-9][0-9]*$", description="a part of so many, such as 1/2"
    )  # of the prompts, by hash
    limit: int | None = Field(None, gt=0)  # the first rows, after the split and the part
    on_bad_row: Literal["error", "skip"] = "error"  # skip counts and lists what it left out

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if self.path is not None and self.from_stage is not None:
            raise ValueError(
                f"both a path ({self.path}) and a stage ({self.from_stage}) are named "
                "-> keep one of path and from; path: null takes back an inherited one"
            )
        if self.path is None and self.from_stage is None:
            raise ValueError(
                "names no rows -> add path: ... (a file, a glob or a hub id), or from: ... (a stage that writes rows)"
            )
        return self

    def at(self, path: Path) -> DataSource:
        """The same source once its stage has written its rows to `path`."""
        return self.model_copy(update={"path": str(path), "from_stage": None})


# What each holds an answer against, the reference where nothing else is said:
Check = Literal[
    "exact",  # the same text, normalised as SQuAD does
    "f1",  # words in common, as SQuAD counts them
    "rouge",  # ROUGE-L
    "fields",  # each field of the reference, a JSON object
    "number",  # the last number in it
    "instructions",  # IFEval's rules, which the reference names
    "supported",  # the words of the prompt's documents
]


class TaskConfig(Frozen):
    """What a program can check about an answer. A reference is one text or, where several are right, a list of them."""

    json_schema: dict[str, Any] | None = None  # JSON Schema an answer must validate against
    labels: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # field of a JSON answer -> allowed labels
    label_set: tuple[str, ...] | None = None  # where the whole answer is the label: those allowed
    checks: tuple[Check, ...] = ()
