"""What a server answered, and the file in which paid answers outlast an evaluation that was stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Reply:
    """One answer; token counts are the server's own, None where it gives none."""

    text: str  # "" also where the server gives none: a filter, or a budget spent on thinking
    ended: bool  # the model stopped by itself; False: the token limit or the server's filter cut it
    num_prompt_tokens: int | None
    num_new_tokens: int | None
    own_temperature: bool = False  # the model refused to be greedy, and answered at its own temperature


class Cache:
    """Replies by the request that they answer, a JSON line each, written as they come; without a path, none.

    A line is whole or, after a kill, the torn last one, which is cut off: its question is asked again.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known = _read(path) if path is not None else {}

    def get(self, request: Mapping[str, Any]) -> Reply | None:
        """The reply to an equal request."""
        return self._known.get(_digest(request))

    def keep(self, request: Mapping[str, Any], reply: Reply) -> None:
        """Write it down at once."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"request": _digest(request), **asdict(reply)}) + "\n")


def _read(path: Path) -> dict[str, Reply]:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:  # what comes next would else be written behind the torn line
        with path.open("r+b") as file:
            file.truncate(len(whole))
    lines = [json.loads(line) for line in whole.splitlines()]
    return {line.pop("request"): Reply(**line) for line in lines}


def _digest(request: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
