"""Which rows are held out, and which part a row is in: decided by a hash of its prompt alone.

So a decision depends neither on the order of rows nor on what other rows there are, and equal prompts in
different sources of a recipe lie on the same side.
"""

from __future__ import annotations

import hashlib

from pipeline.errors import DataError


def is_heldout(prompt_key: str, fraction: float, salt: str) -> bool:
    """Whether the hash of salt and key, as a fraction of 2**64, falls under `fraction`."""
    return _hash(salt + prompt_key) < fraction * 2**64


def in_part(prompt_key: str, part: str, salt: str) -> bool:
    """Whether the key falls in part "i/n" of n equal parts; independent of `is_heldout`.

    DataError if `part` is not i/n with 1 <= i <= n.
    """
    index, _, count = part.partition("/")
    if not (index.isascii() and count.isascii() and index.isdigit() and count.isdigit()):
        raise DataError(f"'{part}' is not a part", where="part", remedy="write it as 1/2, the first of two halves")
    if not 1 <= int(index) <= int(count):
        raise DataError(
            f"there is no part {index} of {count}", where="part", remedy=f"choose 1/{count} to {count}/{count}"
        )
    return _hash(f"{salt}:part{prompt_key}") * int(count) >> 64 == int(index) - 1


def _hash(text: str) -> int:
    """The first 64 bits of the SHA-256, big-endian."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")
