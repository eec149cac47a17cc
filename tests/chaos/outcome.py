"""What a finished stage leaves, as one flat mapping, and where two of them differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

Outcome = dict[str, Any]
TIMES = ("time", "seconds", "peak_memory_mb", "wandb_run_id", "files", "digest")  # of a manifest or a metrics line


def outcome(folder: Path) -> Outcome:
    """Every published byte and tensor, the last checkpoint, the metrics line by line, the report: times left out."""
    found: Outcome = {}
    for file in sorted(p for p in (folder / "output").rglob("*") if p.is_file()):
        found[f"file {file.name}"] = hashlib.sha256(file.read_bytes()).hexdigest()
        if file.suffix == ".safetensors":
            found |= {f"weight {name}": tensor for name, tensor in load_file(file).items()}
    last = max(folder.glob("checkpoints/step-??????"))
    state = torch.load(last / "state.pt", weights_only=True)
    found |= {f"checkpoint {last.name} {name}": value for name, value in _flat("", state)}
    for place, line in enumerate((folder / "metrics.jsonl").read_text("utf-8").splitlines()):
        found |= {f"metrics line {place} {name}": value for name, value in _flat("", _timeless(json.loads(line)))}
    for name in ("report.json", "manifest.json"):
        found |= {
            f"{name} {key}": value for key, value in _flat("", _timeless(json.loads((folder / name).read_text())))
        }
    return found


def leftovers(folder: Path) -> list[str]:
    """What no finished stage should still have in its folder."""
    names = [
        path.relative_to(folder.parents[1]).as_posix()
        for path in (*folder.rglob("*"), *folder.parents[1].glob("*.tmp-*"))
    ]
    unfinished = ("output.tmp", "result.json", "job.json", "error.json")
    return [name for name in names if ".tmp-" in name or name.endswith(unfinished)]


def differences(untouched: Outcome, found: Outcome) -> list[str]:
    """One line a thing that is missing, too many or not the same to the last bit, with the size of the difference."""
    lines = [f"missing: {name}" for name in untouched.keys() - found.keys()]
    lines += [f"too many: {name}" for name in found.keys() - untouched.keys()]
    for name in untouched.keys() & found.keys():
        one, other = untouched[name], found[name]
        if not _same(one, other):
            lines.append(f"{name}: {_size(one, other)}")
    return sorted(lines)


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        alike = one.dtype == other.dtype and one.shape == other.shape
        return alike and one.contiguous().view(-1).view(torch.uint8).equal(
            other.contiguous().view(-1).view(torch.uint8)
        )
    return type(one) is type(other) and repr(one) == repr(other)  # repr: a NaN is the same as itself


def _size(one: Any, other: Any) -> str:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and one.shape == other.shape:
        return f"{float((one.double() - other.double()).abs().max()):.3g} apart at most"
    return f"{one!r:.60} became {other!r:.60}"


def _timeless(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in TIMES}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, (list, tuple)) and value:
        for place, inner in enumerate(value):
            yield from _flat(f"{name}.{place}", inner)
    else:
        yield name, value


def wandb_problems(folder: Path) -> list[str]:
    """What the offline W&B files of all attempts, taken together, do not tell: one run, every step once, in order."""
    from wandb_file import records

    ids, steps = set(), []
    for file in sorted(folder.glob("wandb/offline-run-*/*.wandb"), key=lambda path: path.stat().st_ctime_ns):
        for record in records(file):
            kind = record.WhichOneof("record_type")
            ids |= {record.run.run_id} if kind == "run" else set()
            if kind == "history":
                keys = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                steps.append(int(keys["_step"]))
    logged = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]
    problems = [f"W&B: {len(ids)} run ids"] if len(ids) != 1 else []
    return problems + ([f"W&B: steps {steps} of {logged}"] if steps != logged else [])
