"""Finds, and reads, all data a run is about to use, so that a bad row ends it before any training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stages.formats.files import expand
from stages.formats.load import Kind, Side, is_hub_id, load

if TYPE_CHECKING:
    from pipeline.contract import Source

Asked = Mapping[str, tuple[Kind, Side, Sequence["Source"]]]  # by the field that names the sources


def check_places(asked: Asked) -> None:
    """DataError for the first source that names no file here and looks like no hub id. Nothing is read."""
    for _, _, sources in asked.values():
        for source in sources:
            if not is_hub_id(source.config.path):
                expand(source.config.path)


def check(asked: Asked) -> None:
    """Load every source as its field will; the first DataError passes through. Hub ids are left for the stage."""
    for kind, side, sources in asked.values():
        for source in sources:
            if not is_hub_id(source.config.path):
                load(source, kind, side)
