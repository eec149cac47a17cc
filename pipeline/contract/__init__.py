"""What a stage is: typed inputs, a config, a context to work in, and a result.

This package is the whole surface between the engine and the stages. A stage is a function
`run(config, context) -> Result`; its config class says, through `Input` annotations, which fields
name artifacts and which name data. Nothing here imports torch.
"""

from pipeline.contract.config import (
    AWAITED,
    ROWS,
    Frozen,
    Input,
    LoggingSteps,
    Names,
    Problem,
    RecordKind,
    Role,
    SaveSteps,
    Saving,
    StageConfig,
    Unhashed,
)
from pipeline.contract.context import Artifact, Context, Source
from pipeline.contract.result import Estimate, Fragment, Plot, Point, Result, Samples, Table, Verdict
from pipeline.contract.sections import Check, DataSource, LoraConfig, ModelConfig, NamedPath, TaskConfig

__all__ = [
    "AWAITED",
    "ROWS",
    "Artifact",
    "Check",
    "Context",
    "DataSource",
    "Estimate",
    "Fragment",
    "Frozen",
    "Input",
    "LoggingSteps",
    "LoraConfig",
    "ModelConfig",
    "NamedPath",
    "Names",
    "Plot",
    "Point",
    "Problem",
    "RecordKind",
    "Result",
    "Role",
    "Samples",
    "SaveSteps",
    "Saving",
    "Source",
    "StageConfig",
    "Table",
    "TaskConfig",
    "Unhashed",
    "Verdict",
]
