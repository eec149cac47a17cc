"""A look at a GGUF file's header before the gguf package reads it.

That reader believes every count in the file: an array that is said to have 2^60 elements keeps it busy for ever.
Layout: ggml/docs/gguf.md. Little-endian, version 2 or 3.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from pipeline.errors import ModelError

MAGIC, VERSIONS = b"GGUF", (2, 3)
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # bytes of each plain type
STRING, ARRAY = 8, 9
MAX_DIMENSIONS = 4


def check(path: Path) -> None:
    """ModelError unless everything the header counts fits in the file."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            _Walk(data).header()
    except (struct.error, ValueError) as error:
        raise ModelError(
            f"is no whole GGUF file ({error})", where=path.name, remedy="fetch it, or install its package, again"
        ) from error


class _Walk:
    """A position in the file; each step moves it on, and struct.error or ValueError ends it."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 0

    def header(self) -> None:
        if self._data[:4] != MAGIC:
            raise ValueError("it does not begin with GGUF")
        self._at = 4
        if (version := self._number("<I")) not in VERSIONS:
            raise ValueError(f"version {version}, known are 2 and 3")
        num_tensors, num_values = self._number("<Q"), self._number("<Q")
        for _ in range(num_values):
            self._string()
            self._value(self._number("<I"))
        for _ in range(num_tensors):
            self._string()
            dimensions = self._number("<I")
            if dimensions > MAX_DIMENSIONS:
                raise ValueError(f"a tensor of {dimensions} dimensions")
            self._skip(8 * dimensions + 4)
            if self._number("<Q") > len(self._data):
                raise ValueError("a tensor that lies behind its end")

    def _number(self, form: str) -> int:
        (number,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(number)

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise ValueError(f"it ends at byte {len(self._data)}, in the middle of its header")

    def _string(self) -> None:
        self._skip(self._number("<Q"))

    def _value(self, kind: int) -> None:
        if kind == STRING:
            self._string()
        elif kind == ARRAY:
            element, count = self._number("<I"), self._number("<Q")
            if element in SIZES:
                self._skip(SIZES[element] * count)
            elif element == STRING:
                for _ in range(count):
                    self._string()
            else:
                raise ValueError(f"an array of type {element}")
        elif kind in SIZES:
            self._skip(SIZES[kind])
        else:
            raise ValueError(f"a value of type {kind}")
