"""The page as a file: what it holds, what it must not hold, and that nothing but its own script may run."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from hostile_texts import HOSTILE
from made_up_batch import POLICIES, made_up_batch

from pipeline.errors import DataError
from stages.annotation.batch import Batch
from stages.exchange.html import export
from stages.exchange.tools import ExportOptions


def exported(batch: Batch, folder: Path, **options) -> list[str]:
    return [path.read_text("utf-8") for path in export(batch, folder, ExportOptions(**options))]


def data_of(page: str) -> dict:
    return json.loads(page.partition('<script type="application/json" id="data">')[2].partition("</script>")[0])


def test_export_writes_a_page_for_each_annotator_in_the_order_that_the_annotator_sees(tmp_path: Path) -> None:
    batch = made_up_batch(annotators=["ann1", "ann2"])
    assert [path.name for path in export(batch, tmp_path, ExportOptions())] == [
        f"{batch.batch_id}__ann1.html",
        f"{batch.batch_id}__ann2.html",
    ]
    for annotator in batch.annotators:
        tasks = data_of((tmp_path / f"{batch.batch_id}__{annotator}.html").read_text("utf-8"))["tasks"]
        shown = [(task["task_id"], tuple(one["id"] for one in task["completions"])) for task in tasks]
        assert shown == [(task.task_id, order) for task, order in batch.of(annotator)]


def test_page_leaves_out_what_is_done(tmp_path: Path) -> None:
    batch = made_up_batch(annotators=["ann1", "ann2"])
    done = frozenset({("ann1", task.task_id) for task in batch.tasks} | {("ann2", batch.tasks[0].task_id)})
    (page,) = exported(batch, tmp_path, exclude_done=done)
    assert [task["task_id"] for task in data_of(page)["tasks"]] == [task.task_id for task in batch.tasks[1:]]


def test_page_is_refused_when_the_annotator_has_no_task(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no task is for 'ann3'"):
        export(made_up_batch(), tmp_path, ExportOptions(annotators=["ann3"]))


def test_pages_have_names_of_their_own_when_annotators_differ_in_signs_alone(tmp_path: Path) -> None:
    paths = export(made_up_batch(annotators=["../a", ".._a", ".._A", "Ünal"]), tmp_path, ExportOptions())
    assert len({path.name.casefold() for path in paths}) == 4
    assert all(path.parent == tmp_path and re.fullmatch(r"[\w.@-]+\.html", path.name, re.ASCII) for path in paths)


def test_page_holds_nothing_of_the_key(tmp_path: Path) -> None:
    batch = made_up_batch()
    for page in exported(batch, tmp_path):
        content = json.dumps(data_of(page))
        for secret in (
            *POLICIES,
            "gold",
            "repeat_of",
            "stage_fingerprint",
            "a-secret-stage",
            "90210",
            '"kind"',
            '"key"',
        ):
            assert secret not in content
        assert not any(policy in page for policy in POLICIES)


def test_policy_names_the_hashes_of_the_one_style_and_the_one_script(tmp_path: Path) -> None:
    page = exported(made_up_batch(), tmp_path)[0]
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', page)[1]
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = lambda text: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()  # noqa: E731
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; style-src 'sha256-{digest(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_script_uses_nothing_that_reads_text_as_code() -> None:
    folder = Path(__file__).parents[3] / "stages" / "exchange" / "html_page"
    scripts = sorted(folder.glob("*.js"))
    assert len(scripts) == 5
    for script in scripts:
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|new Function|DOMParser|createContextual"
            r"|fetch\(|XMLHttp|sendBeacon|WebSocket|https?:",
            script.read_text("utf-8"),
        )


@pytest.mark.parametrize("name", HOSTILE)
def test_data_block_gives_hostile_text_back_and_cannot_be_left(name: str, tmp_path: Path) -> None:
    text = HOSTILE[name]
    batch = made_up_batch([[text, "harmless"]], ["ann1"], questions=[text])
    page = exported(batch, tmp_path)[0]
    (task,) = data_of(page)["tasks"]
    assert {one["text"] for one in task["completions"]} == {text, "harmless"}
    assert task["messages"][0]["text"] == text
    block = page.partition('id="data">')[2].partition("\n<script>")[0].removesuffix("</script>")
    assert block.isascii() and not set(block) & set("<>&")


def test_page_digest_changes_when_the_tasks_do(tmp_path: Path) -> None:
    one, other, again = (
        data_of(exported(made_up_batch([["a", text]], ["ann1"]), tmp_path)[0])["page_digest"] for text in "bcb"
    )
    assert one == again != other
