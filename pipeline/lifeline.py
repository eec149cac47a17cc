"""No orphan writes to a run folder: a process of ours ends when the one that started it is gone, however suddenly.

The engine holds one end of a pipe, which the kernel closes with it. Of several processes torch's launcher has the other
end, and each worker looks whether the launcher is still its parent: torch does not hand the pipe on.

As a program, `python -m pipeline.lifeline ...` is torch's launcher under such a watch.
"""

from __future__ import annotations

import os
import runpy
import threading
import time

from pipeline.errors import FAILED

PIPE = "POSTTUNE_PARENT_PIPE"
LOOK_SECONDS = 0.2


def hold() -> None:
    """End this process when its parent has ended."""
    descriptor = os.environ.pop(PIPE, None)
    watch, given = (_parent, os.getppid()) if descriptor is None else (_pipe, int(descriptor))
    threading.Thread(target=watch, args=(given,), name="parent-watch", daemon=True).start()


def _pipe(descriptor: int) -> None:
    os.read(descriptor, 1)  # returns only at end of file
    os._exit(FAILED)


def _parent(process: int) -> None:
    while os.getppid() == process:
        time.sleep(LOOK_SECONDS)
    os._exit(FAILED)


if __name__ == "__main__":
    hold()
    runpy.run_module("torch.distributed.run", run_name="__main__", alter_sys=True)
