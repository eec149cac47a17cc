"""What must not stand in a run folder: the home folder's path, and the keys and tokens of the environment.

Paths under the home folder are written as `~/...` from the moment a recipe is read, and every reader expands them.
What libraries and a user's own code print is cleaned when the stage has ended.
"""

from __future__ import annotations

import json
import netrc
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECRET = re.compile(r"TOKEN|KEY|SECRET|PASSW|CREDENTIAL")
SHORTEST = 8  # characters of a value that can be a secret; `TOKENIZERS_PARALLELISM=false` is none


def hide_home(text: str) -> str:
    """`text` with `~` for the path of the home folder, wherever it stands."""
    home = os.path.expanduser("~").rstrip("/")
    if not home.startswith("/"):
        return text
    return re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text)


def relative(path: Path, start: Path) -> str:
    """How to get from `start` to `path`; `~/...` where that way would spell out the home folder."""
    found = Path(os.path.relpath(path.resolve(), start.resolve())).as_posix()
    home = os.path.realpath(os.path.expanduser("~"))
    spelt = f"/{found}/".find(f"{home.rstrip('/')}/") >= 0
    return f"~/{os.path.relpath(path.resolve(), home)}" if spelt and home != "/" else found


def clean(text: str) -> str:
    """`text` without home paths, and with each secret's name in its place, where it stands by itself."""
    for name, value in sorted(_secrets(), key=lambda found: -len(found[1])):
        text = re.sub(rf"(?<![A-Za-z0-9]){re.escape(value)}(?![A-Za-z0-9])", f"[{name}]", text)
    return hide_home(text)


def clean_file(path: Path) -> None:
    """The same for a text file, of JSON each string that is a value; one that cannot be read is left alone."""
    try:
        before = path.read_bytes().decode("utf-8", "surrogateescape")
        after = json.dumps(_cleaned(json.loads(before))) if path.suffix == ".json" else clean(before)
        if after != before:
            new = path.with_name(f"{path.name}.tmp-{os.getpid()}")  # a kill, or a full disk, leaves the old file whole
            new.write_bytes(after.encode("utf-8", "surrogateescape"))
            new.replace(path)
    except (OSError, ValueError):
        return


def _cleaned(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _cleaned(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_cleaned(inner) for inner in value]
    return clean(value) if isinstance(value, str) else value


def _secrets() -> Iterator[tuple[str, str]]:
    """Name and value: of the environment, of the hub's token file and of the W&B entry in ~/.netrc."""
    for name, value in os.environ.items():
        if SECRET.search(name.upper()) and len(value) >= SHORTEST and not value.startswith("/"):
            yield name, value
    home = os.environ.get("HF_HOME", os.path.expanduser("~/.cache/huggingface"))
    try:
        stored = Path(os.environ.get("HF_TOKEN_PATH", Path(home, "token"))).read_text("utf-8").strip()
        if len(stored) >= SHORTEST:
            yield "HF_TOKEN", stored
    except (OSError, ValueError):
        pass
    try:
        entry = netrc.netrc().authenticators("api.wandb.ai")
        if entry and entry[2] and len(entry[2]) >= SHORTEST:
            yield "WANDB_API_KEY", entry[2]
    except (OSError, ValueError, netrc.NetrcParseError):
        pass
