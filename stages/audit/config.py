"""What audit takes and gives."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.contract import Estimate, Input, ModelConfig, Names, Role, StageConfig
from stages.audit.names import check_skip


class Config(StageConfig):
    """Which rows are looked at, what they are held against, and when the findings end the run."""

    produces: ClassVar[Role] = "rows"

    data: Annotated[Names, Input(records="any")]  # one kind of record: the rows are written again for later stages
    against: Annotated[Names | None, Input(records="any")] = None  # test sets that these rows must not repeat
    max_length: int = Field(1024, gt=1)  # tokens; as in the stage that will read the rows
    near_duplicate_threshold: float = Field(0.7, ge=0.5, le=1)  # Jaccard; lower finds looser copies, and false ones
    skip: tuple[str, ...] = ()  # checks that are left out, or findings, by their names
    fix: bool = False  # the rows that are written are cleaned; what was changed or left out is listed
    fail_on: Literal["error", "warning", "never"] = "error"  # findings of this severity, or a higher one, end the run

    @field_validator("skip")
    @classmethod
    def _is_known(cls, skip: tuple[str, ...]) -> tuple[str, ...]:
        check_skip(skip)
        return skip

    @model_validator(mode="after")
    def _against_others(self) -> Self:
        given, held = ({names} if isinstance(names, str) else {*(names or ())} for names in (self.data, self.against))
        if both := sorted(given & held):
            raise ValueError(f"'{both[0]}' is in data and in against: every row would leak -> name it in one of them")
        return self


def estimate(config: Config, model: ModelConfig) -> Estimate:
    """Nothing is loaded but a tokenizer; hashes of a row take about 250 bytes."""
    return Estimate(notes=["a million rows take about 1 GB of memory"])
