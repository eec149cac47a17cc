"""What a file, a folder, a hub id or a package holds, as a digest that `plan` can afford.

Digests of files are cached by size, modification time and inode. Nothing here uses the network: a hub
id counts with the commit that the local hub cache knows for it.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.contract import DataSource, ModelConfig
from pipeline.redaction import relative

WHOLE_FILE = 64 * 2**20  # larger files of a model folder count with their size, first and last MiB
ROWS_COMPARED = 20 * 2**20  # larger data files say only that they changed, not how many rows did


class ContentCache:
    """File digests, remembered in one JSON file between runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, list[object]] = {}
        try:
            known = json.loads(file.read_text("utf-8"))
            self._known = {path: entry for path, entry in known.items() if isinstance(entry, list) and len(entry) == 4}
        except (OSError, ValueError, AttributeError, RecursionError):  # torn, or not ours: hashed anew
            pass
        self._changed = False

    def digest(self, path: Path) -> str:
        """SHA-256 of the file's content (of a sample of it, above WHOLE_FILE)."""
        stat = path.stat()
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        key = relative(path, Path())
        known = self._known.get(key)
        if known and known[:3] == state:
            return str(known[3])
        digest = _sample_digest(path, stat.st_size) if stat.st_size > WHOLE_FILE else file_digest(path)
        self._known[key] = [*state, digest]
        self._changed = True
        return digest

    def save(self) -> None:
        """Keep what was learnt; a folder that does not exist yet, or cannot be written, is no matter."""
        if not self._changed or not self._file.parent.is_dir():
            return
        temporary = self._file.with_name(f"{self._file.name}.tmp-{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self._known), "utf-8")
            temporary.replace(self._file)
        except OSError:
            return


def file_digest(path: Path) -> str:
    """SHA-256 of a whole file, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sample_digest(path: Path, size: int) -> str:
    with path.open("rb") as stream:
        head = stream.read(2**20)
        stream.seek(-(2**20), os.SEEK_END)
        return hashlib.sha256(f"{size}:".encode() + head + stream.read()).hexdigest()


def data_files(source: DataSource) -> list[Path]:
    """The local files a source names: one file, a folder's files, or a glob's; none for a hub id."""
    path = Path(_place(source))
    if os.path.isdir(path):  # os.path: a name too long for the system is no folder, where pathlib raises
        return sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    if os.path.isfile(path):
        return [path]
    return sorted(Path(p) for p in glob.glob(_place(source), recursive=True) if os.path.isfile(p))


def data_digest(source: DataSource, cache: ContentCache) -> str:
    """What the source holds now: by content for files, by commit for a hub id, "missing" otherwise."""
    files = data_files(source)
    if files:
        return hashlib.sha256("".join(cache.digest(file) for file in files).encode()).hexdigest()
    return hub_commit("datasets", _place(source), source.revision) or "missing"


def _place(source: DataSource) -> str:
    assert source.path is not None, "a stage that writes rows is finished before they are read"
    return os.path.expanduser(source.path)


def row_digests(source: DataSource) -> list[str] | None:
    """A short digest of each line of a source's files, to count changed rows; None where that says nothing."""
    files = data_files(source)
    text = {".jsonl", ".csv", ".tsv"}
    if not files or any(f.suffix not in text or f.stat().st_size > ROWS_COMPARED for f in files):
        return None
    lines = (line for file in files for line in file.read_bytes().splitlines())
    return [hashlib.sha256(line).hexdigest()[:8] for line in lines]


def model_digest(model: ModelConfig, cache: ContentCache) -> str:
    """What `model_name_or_path` stands for now."""
    name = model.model_name_or_path
    if name.startswith("package:"):
        package = name.removeprefix("package:")
        try:
            return f"{package}=={version(package)}"
        except PackageNotFoundError:
            return f"{package} is not installed"
    folder = Path(os.path.expanduser(name))
    if os.path.isdir(folder):
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        parts = [f"{file.relative_to(folder)}:{cache.digest(file)}" for file in files]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
    return hub_commit("models", name, model.revision) or "unresolved"


def hub_commit(kind: str, name: str, revision: str | None) -> str | None:
    """The commit the local Hugging Face cache holds for `name`, without importing its library."""
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    reference = cache / f"{kind}--{name.replace('/', '--')}" / "refs" / (revision or "main")
    try:
        return reference.read_text("utf-8").strip()
    except OSError:
        return revision
