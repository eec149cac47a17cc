"""Running a stage on the tiny model: data files, contexts that record and that stop, and published weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipeline.contract import Artifact, Context, LoraConfig, ModelConfig, Result, Table
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat
from stages.modeling.heads import ScalarHead
from stages.modeling.publish import publish_reward

BASE = Artifact("base", "policy")


def lora_model(folder: Path, **changes: Any) -> ModelConfig:
    """The tiny model in float32 with a rank-4 adapter."""
    lora = LoraConfig(r=4, alpha=8, **changes)
    return ModelConfig(model_name_or_path=str(folder), dtype="float32", lora=lora)


def full_model(folder: Path) -> ModelConfig:
    """The tiny model in float32, every weight trained."""
    return ModelConfig(model_name_or_path=str(folder), dtype="float32")


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


@dataclass
class Log:
    """What a stage recorded: metrics as the tracker would keep them, and lines said."""

    metrics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        self.metrics.append((step, dict(metrics)))

    def rewind(self, step: int) -> None:
        self.metrics = [entry for entry in self.metrics if entry[0] <= step]

    def column(self, name: str) -> list[float]:
        """One metric over the steps."""
        return [metrics[name] for _, metrics in self.metrics if name in metrics]


def stop_at(call: int) -> Callable[[], bool]:
    """A should_stop that turns true at its call number `call`, and stays so."""
    calls = 0

    def should_stop() -> bool:
        nonlocal calls
        calls += 1
        return calls >= call

    return should_stop


def make_context(
    output: Path, model: ModelConfig, log: Log | None = None, *, keep: bool = False, stop: int = 0, **inputs: Any
) -> Context:
    """`Context.local`, recorded in `log`; `keep` checkpoints beside the output; `stop` is the call that says stop."""
    log = log or Log()
    context = Context.local(output, model=model, heldout_fraction=0.3, **inputs)
    return replace(
        context,
        checkpoints=output.parent / "checkpoints" if keep else None,
        log_metrics=log.log,
        rewind=log.rewind,
        say=log.said.append,
        **({"should_stop": stop_at(stop)} if stop else {}),
    )


def titled(result: Result, title: str) -> Table:
    """The one table of that title."""
    (found,) = [f for f in result.fragments if isinstance(f, Table) and f.title == title]
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Every published tensor, the adapter's or the model's, and a head's."""
    found: dict[str, torch.Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= {f"{file.name}:{name}": tensor for name, tensor in load_file(file).items()}
    assert found, f"{folder} holds no weights"
    return found


def same_weights(one: Path, other: Path) -> bool:
    """Whether two published folders hold bit-identical weights."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def shake(backbone: Backbone, role: str, seed: int, size: float = 0.2) -> None:
    """Fill an adapter's B matrices, which start at zero, so that it says something of its own."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in backbone.parameters(role).items():
            if "lora_B" in name:
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))


def publish_scorer(model: ModelConfig, chat: Chat, folder: Path, seed: int = 4) -> Path:
    """Publish a reward model that likes last tokens that point along a fixed random direction."""
    backbone = open_backbone(model)
    backbone.load("reward", BASE, trainable=True, seed=3)
    shake(backbone, "reward", 3, size=0.02)
    head = ScalarHead(backbone.hidden_size).initialise(torch.Generator().manual_seed(seed))
    folder.mkdir()
    publish_reward(backbone, "reward", head, chat, folder, {"normalization": None})
    return folder
