"""What every tool and file shows of a task."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tool_batch import batch_of

from stages.exchange.lookup import exporter
from stages.exchange.tools import ExportOptions

CALL = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}
PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "this?"}, {"type": "image", "image": "a.png"}]


@pytest.mark.parametrize("name", ["html", "csv", "label-studio", "argilla", "potato", "prodigy"])
def test_every_export_shows_parts_and_calls_of_tools_and_no_none(name, tmp_path):
    batch = batch_of(3, people=("ann",), texts=("one", "two", "three"))
    messages = ({"role": "user", "content": PARTS}, {"role": "assistant", "content": None, "tool_calls": [CALL]})
    batch = replace(batch, tasks=tuple(replace(task, messages=messages) for task in batch.tasks))
    everything = "".join(
        path.read_text("utf-8-sig") for path in exporter(name)(batch, tmp_path, ExportOptions()) if path.suffix != ".py"
    )
    shown = everything.partition('<script type="application/json"')[2] if name == "html" else everything
    for word in ("What is", "this?", "a.png", "add"):
        assert word in shown
    assert "None" not in shown and "{'type'" not in shown
