"""The run folder of a recipe, and which run of each stage is the current one. Nothing else creates it.

runs/<recipe>/recipe.yaml index.json hashes.json report.html
runs/<recipe>/<stage>/<fingerprint 12>/                 see stage_run.py
"""

from __future__ import annotations

import json
import os
import uuid
from pathlib import Path
from typing import Any

from pipeline import manifest
from pipeline.content import ContentCache
from pipeline.errors import UserError
from pipeline.files import read_json, write_atomically
from pipeline.recipe import RUN_FILES, Recipe, dump_resolved
from pipeline.redaction import clean, relative
from pipeline.stage_run import StageRun


class Store:
    """The run folder of one recipe. Reading it creates nothing."""

    def __init__(self, runs: Path, recipe: Recipe) -> None:
        self.root = runs / recipe.name
        self.contents = ContentCache(self.root / "hashes.json")
        self._recipe = recipe
        self._recipe_before = b""  # as an earlier run left it
        self._index = _read_index(self.root / "index.json")
        owner = self.root / os.path.expanduser(self._index["recipe"]) if "recipe" in self._index else recipe.path
        if os.path.exists(owner) and not owner.samefile(recipe.path):  # a recipe that was moved keeps its runs
            raise UserError(
                f"this run folder belongs to the recipe {os.path.relpath(owner.resolve())}",
                where=str(self.root),
                remedy=f"give {recipe.path} a `name:` of its own, or use --runs",
            )

    @property
    def id(self) -> str:
        """The run folder's own id: the W&B group."""
        return str(self._index.get("id", "unsaved"))

    def last_fingerprint(self, stage: str) -> str | None:
        """The fingerprint this stage was last started or finished with."""
        found = self._index.get("stages", {}).get(stage)
        return str(found) if found else None

    def run(self, stage: str, fingerprint: str) -> StageRun:
        return StageRun(stage, fingerprint, self.root / stage / fingerprint[:12])

    def finished(self, stage: str) -> StageRun | None:
        """The stage's current run, if it is finished."""
        last = self.last_fingerprint(stage)
        run = self.run(stage, last) if last else None
        return run if run and run.manifest() else None

    def create(self) -> None:
        """Make the run folder and keep the resolved recipe in it."""
        self.root.mkdir(parents=True, exist_ok=True)
        for torn in self.root.glob("*.tmp-*"):
            writer = torn.name.rpartition("-")[2]
            if writer.isdecimal() and not _is_alive(int(writer)):  # else another engine is writing it at this moment
                torn.unlink(missing_ok=True)
        self._index = read_json(self.root / "index.json") or self._index
        if "id" not in self._index:
            self._index = {"id": uuid.uuid4().hex[:12], "stages": {}}
        recipe = relative(self._recipe.path, self.root)
        if self._index.get("recipe") != recipe:
            self._index["recipe"] = recipe
            write_atomically(self.root / "index.json", json.dumps(self._index, indent=1))
        kept = self.root / "recipe.yaml"
        self._recipe_before = kept.read_bytes() if kept.is_file() else b""
        write_atomically(kept, clean(dump_resolved(self._recipe)))
        self.contents.save()

    def point(self, stage: str, fingerprint: str | None) -> None:
        """Make `fingerprint` the stage's current run; None: it has none."""
        self._index = read_json(self.root / "index.json") or self._index  # another process may run another stage
        if fingerprint is None:
            self._index["stages"].pop(stage, None)
        else:
            self._index["stages"][stage] = fingerprint
        write_atomically(self.root / "index.json", json.dumps(self._index, indent=1))

    def withdraw(self) -> None:
        """Take back what `create` wrote: all of it where no stage has a run to show, else the recipe."""
        self._index = read_json(self.root / "index.json") or {}
        if not self._index.get("stages"):
            for name in RUN_FILES:
                (self.root / name).unlink(missing_ok=True)
        elif self._recipe_before:
            (self.root / "recipe.yaml").write_bytes(self._recipe_before)


def _read_index(path: Path) -> dict[str, Any]:
    """index.json; empty where there is none. UserError for what posttune did not write: its pointers name folders."""
    index = read_json(path)
    if index is None and not path.exists():
        return {}
    pointers = index.get("stages") if index else None
    given = list(pointers.values()) if isinstance(pointers, dict) else [None]
    sound = all(isinstance(pointer, str) and manifest.SHA256.fullmatch(pointer) for pointer in given)
    if index is None or not sound or not all(isinstance(index.get(name, ""), str) for name in ("id", "recipe")):
        raise UserError(
            "is not the index that posttune wrote",
            where=str(path),
            remedy="delete it: every stage that is finished is found again by its fingerprint",
        )
    return index


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
