"""One offline page per annotator, `<batch>__<annotator>.html`, and the `.rankings.json` that is downloaded from it.

The page is one file that loads and sends nothing: its Content-Security-Policy names the hashes of its own style and
script, and texts are data in a JSON block that only ever become text nodes. It holds what tasks.jsonl holds of the
annotator's tasks, in the order that the annotator shall see, and nothing of the key.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from stages.annotation.batch import Batch
from stages.annotation.schema import Task
from stages.annotation.shown import message_text
from stages.exchange.html_answers import matches, read
from stages.exchange.tools import ExportOptions
from stages.exchange.work import file_names, wanted_annotators
from stages.formats.records import Message, canonical

__all__ = ["NAME", "export", "matches", "read"]

NAME = "html"
PAGE_VERSION = "1.0"
SCRIPTS = ("text.js", "answers.js", "task.js", "screens.js", "main.js")  # one script, in this order


def export(batch: Batch, folder: Path, options: ExportOptions) -> list[Path]:
    """Writes a page for each annotator who has tasks left; DataError for an annotator that the batch does not name."""
    written = []
    names = file_names(batch)
    for annotator in wanted_annotators(batch, options):
        given = [pair for pair in batch.of(annotator) if (annotator, pair[0].task_id) not in options.exclude_done]
        if given:
            path = folder / f"{names[annotator]}.html"
            data = _data(batch, annotator, [_task(task, shown) for task, shown in given], names[annotator])
            path.write_text(page(data), "utf-8", newline="\n")
            written.append(path)
    return written


def page(data: Mapping[str, Any]) -> str:
    """The file's content; `data` is all that differs between two pages."""
    style, script = _asset("page.css"), '"use strict";\n(() => {\n' + "\n".join(map(_asset, SCRIPTS)) + "})();\n"
    return Template(_asset("page.html")).substitute(
        style=style, style_hash=_csp_hash(style), script=script, script_hash=_csp_hash(script), data=_embedded(data)
    )


def _data(batch: Batch, annotator: str, tasks: Sequence[Mapping[str, Any]], file_name: str) -> dict[str, Any]:
    data = {
        "batch_id": batch.batch_id,
        "batch_digest": batch.digest,
        "title": batch.title,
        "instructions": batch.instructions,
        "annotator": annotator,
        "file_name": file_name,
        "tasks": tasks,
    }
    # Kept answers belong to exactly these tasks; a page of a newer version goes on with those of an older one.
    digest = hashlib.sha256(canonical(data).encode("utf-8", "surrogatepass")).hexdigest()
    return {**data, "page_version": PAGE_VERSION, "page_digest": digest[:16]}


def _task(task: Task, shown: Sequence[str]) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "task_digest": task.digest,
        "messages": [_message(message) for message in task.messages],
        "completions": [{"id": name, "text": task.text(name)} for name in shown],
        "criteria": list(task.criteria),
        "language": task.language,
    }


def _message(message: Message) -> dict[str, Any]:
    return {"role": message["role"], "name": message.get("name"), "text": message_text(message)}


def _embedded(data: Mapping[str, Any]) -> str:
    """JSON of ASCII alone, so that halves of surrogate pairs survive, without a character that could end its block."""
    text = json.dumps(data, separators=(",", ":"))
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&"})


def _csp_hash(text: str) -> str:
    return "sha256-" + b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _asset(name: str) -> str:
    return (files("stages.exchange") / "html_page" / name).read_text("utf-8")
