"""What a stage declares: the role it produces, its inputs, its config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from pipeline.contract.sections import TaskConfig

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


class Problem(NamedTuple):
    """What is wrong with a stage of a recipe: at which key below the stage, what was found, what to do."""

    key: tuple[str, ...]
    found: str
    remedy: str


class StageConfig(Frozen):
    """Base of every stage's config. `revision` is raised when the stage's results change for equal inputs."""

    produces: ClassVar[Role]
    revision: ClassVar[int] = 1
    distributed: ClassVar[bool] = False  # whether `launch:` may start it in several processes

    def foreign_code(self) -> Mapping[str, str]:
        """Code outside the product that this config has the stage run: dotted path by the key that names it."""
        return {}

    def problem(self, tasks: Mapping[str, Sequence[TaskConfig]]) -> Problem | None:
        """What the whole recipe shows to be wrong, told before anything is trained; None where it shows nothing.

        Asked by the engine alone, once every name is known and every input left out is written: outside it artifacts
        have other names than the config says. `tasks` are those of each data field's sources.
        """
        return None

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
