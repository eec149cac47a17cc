"""Whose answer it is: one spelling a person, since a second one would count as a second opinion."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping

from pipeline.errors import DataError
from stages.exchange.cells import typed


class Names:
    """Spellings -> annotators. `known` are the batch's, then those of answers at hand; `aliases` come before both."""

    def __init__(self, known: Iterable[str], aliases: Mapping[str, str]) -> None:
        self._exact = dict.fromkeys(known)
        self._by_fold: dict[str, list[str]] = {}
        for name in self._exact:
            self._add(name)
        self._aliases = {folded(spelling): self._known(name, "--aliases") for spelling, name in aliases.items()}

    def of(self, raw: str, where: str) -> str:
        """The annotator whom `raw` names, by its first spelling; DataError for no name, and for two that fit."""
        if not raw.strip():
            raise DataError("says no annotator", where=where, remedy="say whose file it is with --annotator NAME")
        spelling = folded(raw)
        return self._aliases[spelling] if spelling in self._aliases else self._known(raw, where)

    def _known(self, raw: str, where: str) -> str:
        if raw in self._exact:
            return raw
        fitting = self._by_fold.get(folded(raw), [])
        if len(fitting) > 1:
            raise DataError(
                f"'{raw}' may be {' or '.join(fitting)}",
                where=where,
                remedy=f'say which in the alias map: {{"{raw}": "{fitting[0]}"}}',
            )
        if not fitting:
            self._add(raw.strip())
        return self._by_fold[folded(raw)][0]

    def _add(self, name: str) -> None:
        same = self._by_fold.setdefault(folded(name), [])
        if name not in same:
            same.append(name)


def folded(name: str) -> str:
    """Equal for spellings of one name: case, width, spaces, and what spreadsheets do to digits (007 -> 7 -> 7.0)."""
    text = " ".join(unicodedata.normalize("NFKC", typed(name)).casefold().split())
    number = text.removesuffix(".0")
    return number.lstrip("0") or "0" if number.isdecimal() else text
