"""A finished stage's manifest: read without trusting it, and held against the files that it vouches for.

What it says decides which files the next stage loads, so it must name files of its own folder, each with its size and
SHA-256, and nothing may lie beside them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.content import file_digest
from pipeline.errors import UserError

FILE = "manifest.json"
SHA256 = re.compile(r"[0-9a-f]{64}")


def read(folder: Path, stage: str, fingerprint: str) -> dict[str, Any] | None:
    """The manifest in a stage's folder; None where there is none, or where files that it names are gone.

    UserError where it is not one that posttune wrote for this run, or where a file has another size.
    """
    try:
        text = (folder / FILE).read_bytes()
    except OSError:
        return None
    try:
        manifest = sound(text, fingerprint)
    except ValueError as flaw:
        raise _damaged(folder / FILE, stage, f"is no manifest of this run: {flaw}") from None
    files = {folder / name: entry["size"] for name, entry in manifest["files"].items()}
    if not all(path.is_file() for path in files):
        return None
    for path, size in files.items():
        found = path.stat().st_size
        if found != size:
            raise _damaged(path, stage, f"has {found} bytes, its manifest says {size}")
    return manifest


def verify(folder: Path, stage: str, manifest: Mapping[str, Any]) -> None:
    """UserError unless the output is, bit for bit, what was published. Reads all of it."""
    for path, problem in problems(folder, manifest):
        raise _damaged(path, stage, problem)


def problems(folder: Path, manifest: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Each file of the output that is not what was published, and how; reads all of it."""
    files = manifest["files"]
    for name, entry in files.items():
        path = folder / name
        if folder.resolve() not in path.resolve().parents:
            yield path, "is a link that leads out of its folder"
        elif not path.is_file():
            yield path, "is missing"
        elif file_digest(path) != entry["sha256"]:
            yield path, "is not the file that was published: its SHA-256 is not that in the manifest"
    for path in sorted((folder / "output").rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)  # what a file browser leaves; no library reads it
        if not path.is_dir() and not hidden and name.as_posix() not in files:
            yield path, "is not in the manifest: it was put there after the stage had finished"


def digest(files: Mapping[str, Mapping[str, Any]]) -> str:
    """One hash over an artifact's files: equal bits give equal digests, whenever and wherever they were made."""
    return hashlib.sha256(json.dumps({name: entry["sha256"] for name, entry in files.items()}).encode()).hexdigest()


def stays_inside(name: str) -> bool:
    """Whether a relative path in posix form names something inside the folder it starts from."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def sound(text: bytes, fingerprint: str) -> dict[str, Any]:
    """The manifest in it, of a run whose fingerprint begins so. ValueError says what is wrong; no file is looked at."""
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({str(error)[:80]})") from None
    if not isinstance(manifest, dict):
        raise ValueError(f"a {type(manifest).__name__} instead of an object")
    files, metrics = manifest.get("files"), manifest.get("metrics")
    if not str(manifest.get("fingerprint")).startswith(fingerprint):
        raise ValueError("its fingerprint is another's")
    if not isinstance(files, dict):
        raise ValueError("it lists no files")
    for name, entry in files.items():
        if not stays_inside(name) or PurePosixPath(name).parts[0] != "output":
            raise ValueError(f"{name[:80]!r} is not a file of its output")
        if not isinstance(entry, dict) or type(entry.get("size")) is not int:
            raise ValueError(f"{name[:80]!r} has no size")
        if not isinstance(entry.get("sha256"), str) or not SHA256.fullmatch(entry["sha256"]):
            raise ValueError(f"{name[:80]!r} has no SHA-256")
    if manifest.get("digest") != digest(files):
        raise ValueError("its digest is not that of its files")
    if not isinstance(metrics, dict) or not all(isinstance(value, (int, float)) for value in metrics.values()):
        raise ValueError("its metrics are no numbers")
    if not isinstance(manifest.get("seconds"), (int, float)):
        raise ValueError("it says no seconds")
    return manifest


def _damaged(place: Path, stage: str, problem: str) -> UserError:
    return UserError(
        problem,
        where=str(place),
        remedy=f"put back what the stage wrote and move out what it did not, or: posttune run RECIPE --force {stage}",
    )
