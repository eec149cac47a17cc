"""Reads a W&B run file (*.wandb): wandb's own messages inside LevelDB's log framing.

wandb 0.31 took its Python reader out (0.2x: wandb.sdk.internal.datastore), so the framing is read here.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
FULL, FIRST, LAST = 1, 2, 4


def records(file: Path) -> Iterator[Any]:
    """Each wandb Record in the file."""
    from wandb.proto import wandb_internal_pb2

    data = file.read_bytes()
    assert data[:4] == b":W&B"
    at, parts = 7, b""
    while at + 7 <= len(data):
        if BLOCK - at % BLOCK < 7:  # no room for a header: the rest of the block is padding
            at += BLOCK - at % BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        parts = data[at + 7 : at + 7 + size] if kind in {FULL, FIRST} else parts + data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in {FULL, LAST}:
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def read(folder: Path) -> tuple[Any, dict[str, Any], list[dict[str, Any]]]:
    """The one run under `folder`: its run message, its config, and its history rows."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    run, config, rows = None, {}, []
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            config |= {item.key: json.loads(item.value_json) for item in run.config.update if item.key}
        elif kind == "history":
            keys = (item.key or "/".join(item.nested_key) for item in record.history.item)
            rows.append(dict(zip(keys, (json.loads(item.value_json) for item in record.history.item), strict=True)))
    return run, config, rows
