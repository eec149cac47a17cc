"""A preview as one HTML page: its style is inside it, it has no script, and nothing is loaded.

jinja2 escapes all text; `finalize` makes hidden characters visible on the way. Only `_tokens` makes markup, from
escaped parts.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from stages.preview.pieces import Piece, tagged, visible
from stages.preview.preview import Preview
from stages.preview.terminal import heading, where


def render(preview: Preview) -> str:
    """The page's HTML."""
    style = _asset("page.css")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    environment.filters.update(tokens=_tokens, heading=heading, where=where)
    style_hash = "sha256-" + b64encode(hashlib.sha256(style.encode()).digest()).decode()
    template = environment.from_string(_asset("page.html.jinja"))
    return template.render(preview=preview, style=Markup(style), style_hash=style_hash)


def _tokens(pieces: Sequence[Piece]) -> Markup:
    """A span for each token, within one for each run of tokens that count alike."""
    runs: list[tuple[str, list[Markup]]] = []
    for number, piece in enumerate(pieces):
        kind = "cut" if piece.cut else "counts" if piece.counts else "context"
        if not runs or runs[-1][0] != kind:
            runs.append((kind, []))
        runs[-1][1].append(_token(piece, number))
    # `del` and `mark` say the same to those who do not see colours.
    names = {"cut": "del", "counts": "mark", "context": "span"}
    return Markup("").join(
        Markup('<{0} class="run {1}">{2}</{0}>').format(names[kind], kind, Markup("").join(tokens))
        for kind, tokens in runs
    )


def _token(piece: Piece, number: int) -> Markup:
    shade = "ab"[number % 2] + (" special" if piece.is_special else "")
    text = Markup("").join(
        Markup('<i class="tag">{}</i>').format(part) if is_tag else escape(part) for part, is_tag in tagged(piece.text)
    )
    known = " ".join(str(token) for token in piece.ids)
    return Markup('<span class="t {}" title="{}">{}</span>').format(shade, known, text)


def _asset(name: str) -> str:
    return files("stages.preview").joinpath(name).read_text("utf-8")
