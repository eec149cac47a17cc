"""Finds, and reads, all data a run is about to use, so that a bad row ends it before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stages.formats.files import expand
from stages.formats.load import Kind, Side, is_hub_id, load

if TYPE_CHECKING:
    from pipeline.contract import Source


def check_places(sources: Sequence[Source]) -> None:
    """DataError for the first source that names no file here and looks like no hub id. Nothing is read."""
    for source in sources:
        if not is_hub_id(source.config.path):
            expand(source.config.path)


def check(sources_by_field: Mapping[str, tuple[Kind, Side, Sequence[Source]]]) -> None:
    """Load every source as its field will; the first DataError passes through. Hub ids are left for the stage."""
    for kind, side, sources in sources_by_field.values():
        for source in sources:
            if not is_hub_id(source.config.path):
                load(source, kind, side)
