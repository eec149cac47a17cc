"""A run folder written by hand, as the engine leaves it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RECIPE = """\
name: tickets
description: Answers support tickets.
seed: 17
model: {model_name_or_path: "package:small", lora: {r: 16}}
heldout_fraction: 0.2
stages:
  tune: {kind: sft}
  judge: {kind: evaluate}
"""


class Folder:
    """Builds `root` one stage at a time."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.stages: dict[str, str] = {}
        self.digests: dict[str, str] = {}  # of artifacts
        root.mkdir(parents=True)
        (root / "recipe.yaml").write_text(RECIPE, "utf-8")

    def stage(self, name: str, metrics: str = "", **files: Any) -> Path:
        """A stage that was started; each further keyword is a JSON file of its folder."""
        fingerprint = (name.encode().hex() + "0" * 64)[:64]
        self.stages[name] = fingerprint
        (self.root / "index.json").write_text(json.dumps({"id": "0123456789ab", "stages": self.stages}), "utf-8")
        folder = self.root / name / fingerprint[:12]
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(metrics, "utf-8")
        for file, content in files.items():
            (folder / f"{file}.json").write_text(json.dumps(content), "utf-8")
        return folder

    def finished(
        self,
        name: str,
        kind: str,
        fragments: Sequence[Mapping[str, Any]] = (),
        metrics: str = "",
        final: Mapping[str, float] | None = None,
        **record: Any,
    ) -> Path:
        """A finished stage with no output files."""
        fingerprint = (name.encode().hex() + "0" * 64)[:64]
        manifest = {
            "fingerprint": fingerprint,
            "stage": name,
            "kind": kind,
            "digest": "d" * 64,
            "metrics": final or {},
            "seconds": 185.0,
            "peak_memory_mb": 2048,
            "inputs": {},
            "files": {},
            **record,
        }
        return self.stage(name, metrics, manifest=manifest, report={"fragments": list(fragments)})


def table(title: str, columns: Sequence[str], *rows: Sequence[Any], note: str = "") -> dict[str, Any]:
    """A table fragment."""
    return {"type": "table", "title": title, "columns": list(columns), "rows": [list(r) for r in rows], "note": note}


def samples(*rows: Mapping[str, Any], candidates: Sequence[str] = ("base", "tuned")) -> dict[str, Any]:
    """A samples fragment."""
    return {"type": "samples", "title": "Held-out prompts", "candidates": list(candidates), "rows": list(rows)}
