"""What a run folder holds, read without trusting that any of it is complete."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.files import read_json
from pipeline.manifest import SHA256
from pipeline.recipe import NAME
from pipeline.report.origin import NOTHING_KNOWN, MadeFrom, made_from
from pipeline.report.text import is_number, items, mapping, number, plain, shorten
from pipeline.stage_run import StageRun

Points = list[tuple[float, float]]
MAX_README = 100_000  # characters; ours has a few thousand


@dataclass(frozen=True)
class State:
    """How far a stage is: `word` for the eye, `detail` for the reader, `level` for the colour."""

    level: str  # done, running, stopped, failed or waiting
    word: str
    detail: str = ""


@dataclass(frozen=True)
class Series:
    """One metric over the steps: its finite values in step order, and how many were not finite."""

    name: str
    points: Points
    num_not_finite: int = 0


@dataclass(frozen=True)
class StageView:
    """One stage as the page shows it."""

    name: str
    kind: str
    state: State
    fingerprint: str = ""
    record: Mapping[str, Any] = field(default_factory=dict)  # the manifest, or empty
    series: tuple[Series, ...] = ()
    fragments: tuple[Mapping[str, Any], ...] = ()
    made_from: MadeFrom = NOTHING_KNOWN
    model: Mapping[str, Any] = field(default_factory=dict)  # output/posttune.json: of a policy or a reward model
    readme: str = ""  # the artifact's own
    changed: float = 0.0  # seconds since the epoch; 0 where nothing was written


@dataclass(frozen=True)
class Run:
    """A run folder: its recipe and its stages in recipe order."""

    name: str
    recipe: Mapping[str, Any]
    recipe_text: str
    stages: tuple[StageView, ...]
    id: str = ""
    recipe_path: str = ""  # as it is called from where `runs/` is; empty where it is not known


def read_run(root: Path) -> Run:
    """Read `root`; whatever is missing or torn is shown as missing, never an error."""
    text, recipe = _recipe(root / "recipe.yaml")
    index = read_json(root / "index.json") or {}
    pointers = mapping(index.get("stages"))
    kinds = {str(name): plain(mapping(given).get("kind")) for name, given in mapping(recipe.get("stages")).items()}
    # A name that the recipe's reader would refuse could lead out of the run folder.
    names = [name for name in kinds or map(str, pointers) if NAME.fullmatch(name)]
    stages = tuple(_stage(root, name, kinds.get(name, ""), pointers.get(name)) for name in names)
    path = plain(index.get("recipe"))  # relative to the run folder, or from the home folder
    path = path if path.startswith(("~", "/")) else os.path.normpath(f"runs/name/{path}") if path else ""
    return Run(plain(recipe.get("name")) or root.name, recipe, text, stages, plain(index.get("id")), path)


def _recipe(path: Path) -> tuple[str, Mapping[str, Any]]:
    import yaml

    try:
        text = path.read_text("utf-8", errors="replace")
        return text, mapping(yaml.safe_load(text))
    except (OSError, yaml.YAMLError, ValueError, RecursionError):
        return "", {}


def _stage(root: Path, name: str, kind: str, fingerprint: Any) -> StageView:
    if not isinstance(fingerprint, str) or not SHA256.fullmatch(fingerprint):
        return StageView(name, kind, State("waiting", "not started"))
    run = StageRun(name, fingerprint, root / name / fingerprint[:12])
    manifest = run.read("manifest.json")
    record = manifest if manifest.get("fingerprint") == fingerprint else {}
    series = tuple(read_series(run.folder / "metrics.jsonl"))
    return StageView(
        name,
        plain(record.get("kind")) or kind,
        _state(run, record, series),
        fingerprint,
        record,
        series,
        # A resumed run keeps its earlier attempt's report.json until it publishes, so only a manifest vouches for it.
        tuple(f for f in items(run.read("report.json").get("fragments")) if isinstance(f, dict)) if record else (),
        made_from(run.read("inputs.json"), mapping(record.get("inputs"))),
        mapping(read_json(run.output / "posttune.json")) if record else {},
        _readme(run.output / "README.md") if record else "",
        _changed(run.folder),
    )


def _state(run: StageRun, record: Mapping[str, Any], series: tuple[Series, ...]) -> State:
    if record:
        files = record.get("files")
        sized = isinstance(files, Mapping) and all("size" in mapping(entry) for entry in files.values())
        complete = sized and run.manifest() is not None
        return State("done", "done") if complete else State("failed", "files missing", f"from {run.folder.name}/output")
    last = max((s.points[-1][0] for s in series if s.points), default=None)
    reached = f"at step {number(last)}" if last is not None else "before its first logged step"
    if _is_locked(run.folder / "lock"):
        return State("running", "running", reached)
    error = run.read("error.json")
    if error.get("code") not in (None, 130):
        return State("failed", "failed", shorten(str(error.get("problem") or "no message"), 300))
    checkpoints = [path.parent.name for path in run.checkpoints.glob("step-*/MANIFEST.json")]
    resume = f"; goes on from checkpoint {max(checkpoints)}" if checkpoints else ""
    return State("stopped", "stopped", reached + resume + _last_words(run.log))


def _is_locked(lock: Path) -> bool:
    """Whether a process holds the run's lock. A lock file alone says nothing: a killed run leaves the file behind."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _readme(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(MAX_README)
    except OSError:
        return ""


def _last_words(log: Path) -> str:
    """The last line of the log, which ends with the error that stopped the stage."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 4096))
            lines = [line.strip() for line in stream.read().decode("utf-8", "replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return f". Last line of log.txt: {shorten(lines[-1], 300)}" if lines else ""


def read_series(path: Path) -> Iterator[Series]:
    """Each metric of a metrics.jsonl, in order of appearance. Torn lines are left out; of a step that was
    logged twice the later value counts."""
    found: dict[str, dict[float, float]] = {}
    for entry in _entries(path):
        step = entry.get("step")
        if is_number(step):
            for name, value in entry.items():
                if name not in {"step", "time"} and isinstance(value, (int, float)) and not isinstance(value, bool):
                    found.setdefault(name, {})[step] = value
    for name, by_step in found.items():
        points = [(float(step), float(value)) for step, value in sorted(by_step.items()) if is_number(value)]
        yield Series(name, points, len(by_step) - len(points))


def _entries(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        stream = path.open(encoding="utf-8", errors="replace")
    except OSError:
        return
    with stream:
        for line in stream:
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(entry, dict):
                yield entry


def _changed(folder: Path) -> float:
    written = (folder / name for name in ("manifest.json", "metrics.jsonl", "config.yaml"))
    return max((path.stat().st_mtime for path in written if path.exists()), default=0.0)
