"""The records of a stage's data input; rows left out as bad are counted aloud and listed in the artifact."""

from __future__ import annotations

import json
from typing import Any

from pipeline.contract import Context, Source
from stages.formats.load import Kind, Side, load

LEFT_OUT = "left_out.jsonl"


def read_input(context: Context, field: str, kind: Kind, side: Side) -> list[Any]:
    """All records of one kind from the sources of input `field`, in their order.

    With `on_bad_row: skip` each bad row's place and fault go to `left_out.jsonl` in the output folder.
    """
    return [record for _, records in read_sources(context, field, kind, side) for record in records]


def read_sources(context: Context, field: str, kind: Kind, side: Side) -> list[tuple[Source, list[Any]]]:
    """The same, source by source."""
    return [(source, _read(context, source, kind, side)) for source in context.data[field]]


def _read(context: Context, source: Source, kind: Kind, side: Side) -> list[Any]:
    loaded = load(source, kind, side)
    if loaded.skipped and side != "heldout":  # both sides read the same rows: say it once
        place, fault = loaded.skipped[0]
        context.say(
            f"{source.name}: {len(loaded.skipped)} bad rows left out, the first at {place} ({fault}); "
            f"all are listed in {LEFT_OUT}"
        )
        with (context.output / LEFT_OUT).open("a", encoding="utf-8") as stream:
            stream.writelines(json.dumps({"where": w, "problem": p}) + "\n" for w, p in loaded.skipped)
    return list(loaded.records)
