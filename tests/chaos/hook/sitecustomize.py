"""Python loads this by itself from the path. Where $CHAOS asks for it, this process comes to harm at one exact call.

[{"process": "worker", "stage": "ppo", "at": "stages.checkpoint.store:put", "call": 3, "when": "before", "do": "kill",
"rank": "1", "told": "a file that is written when it happens"}, ...]. `rank` is that of one of several workers; null is
whichever comes there. The product has no part in this and no switch for it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

Attack = dict[str, Any]


def main(attack: Attack) -> None:
    """Wrap the function that the attack names, now or as soon as its module is imported."""
    if attack["process"] != ("worker" if "pipeline.worker" in sys.orig_argv else "engine"):
        return
    module, _, name = attack["at"].partition(":")
    if module in sys.modules:
        wrap(sys.modules[module], name, attack)
    else:
        sys.meta_path.insert(0, Wrapping(module, lambda loaded: wrap(loaded, name, attack)))  # type: ignore[arg-type]


class Wrapping:
    """Finds one module as Python would, and calls `then` with it once it is executed, before anyone imports from it."""

    def __init__(self, module: str, then: Callable[[Any], None]) -> None:
        self._module, self._then = module, then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self._module:
            return None
        mine = [finder for finder in sys.meta_path if isinstance(finder, Wrapping) and finder._module == name]
        other = mine[mine.index(self) + 1 :]  # of another attack on the same module, which wraps it first
        spec = (other[0] if other else PathFinder).find_spec(name, path, target)
        assert spec is not None and spec.loader is not None, f"there is no module {name} to attack"
        execute = spec.loader.exec_module

        def executed(module: Any) -> None:
            execute(module)
            self._then(module)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec


def wrap(module: Any, name: str, attack: Attack) -> None:
    """Put a counter in place of the function `name` (or `Class.method`): at the call asked for, it strikes."""
    *classes, name = name.split(".")
    owner = getattr(module, classes[0]) if classes else module
    function, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        mine = attack["stage"] in (None, stage()) and attack["rank"] in (None, os.environ.get("RANK", attack["rank"]))
        calls += mine
        if attack["do"] == "clock":
            return function() - (3600 + 60 * calls) * (mine and calls >= attack["call"] and tell(attack))
        due = mine and calls == attack["call"]
        if due and attack["when"] == "before":
            strike(attack)
        result = function(*arguments, **options)
        if due and attack["when"] == "after":
            strike(attack)
        return result

    setattr(owner, name, counted)


def stage() -> str | None:
    """The stage of this worker, from the place of its job file."""
    return Path(sys.argv[1]).parts[-3] if len(sys.argv) == 2 and sys.argv[1].endswith("job.json") else None


def parent(process: int) -> int:
    """The process that started another one (Linux)."""
    return int(Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def tell(attack: Attack) -> bool:
    Path(attack["told"]).write_text(str(os.getpid()), "utf-8")
    return True


def strike(attack: Attack) -> None:
    me, how = os.getpid(), attack["do"]
    engine = parent(os.getppid()) if "RANK" in os.environ else os.getppid()  # of several workers it is the launcher's
    if how == "kill the children":
        for task in Path("/proc/self/task").glob("*/children"):
            for child in task.read_text("utf-8").split():
                os.kill(int(child), signal.SIGKILL)
                tell(attack)
        return
    tell(attack)
    if how == "kill":
        os.kill(me, signal.SIGKILL)
    elif how == "kill the engine":
        os.kill(engine, signal.SIGKILL)
    elif how == "SIGTERM":
        os.kill(engine, signal.SIGTERM)
    elif how == "Ctrl-C":
        os.kill(engine, signal.SIGINT)
    elif how == "Ctrl-C twice":
        os.kill(engine, signal.SIGINT)
        time.sleep(0.3)
        os.kill(engine, signal.SIGINT)
        time.sleep(10)
    elif how == "SIGSTOP":
        os.kill(me, signal.SIGSTOP)  # drive.py sends SIGCONT
    elif how == "full disk":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    else:
        raise AssertionError(how)


if "CHAOS" in os.environ:
    for one in json.loads(os.environ["CHAOS"]):
        main(one)
