"""What Potato's files may hold beside a clean answer, and what its project looks like."""

from __future__ import annotations

import json

import pytest
import yaml
from tool_batch import batch_of

from stages.exchange import potato
from stages.exchange.tools import ExportOptions, ReadOptions

BATCH = batch_of(3)
TASK = BATCH.tasks[0]
A, B, C = sorted(TASK.ids)


def read(tmp_path, *rows):
    path = tmp_path / "annotations.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return potato.read(path, BATCH, ReadOptions())


def row(order=None, **labels):
    ranking = {"ranking": {"rank_order": order}} if order is not None else {}
    return {"instance_id": TASK.task_id, "user_id": "ann1", "labels": {**ranking, **labels}}


@pytest.mark.parametrize("order, ranks", [
    ("B,A,C", {B: 1, A: 2, C: 3}), ("A,B=C", {A: 1, B: 2, C: 2}), (" C = A , B ", {C: 1, A: 1, B: 2}),
    ("C,A", {C: 1, A: 2}),
])  # fmt: skip
def test_letters_become_completions_when_ordered(order, ranks, tmp_path):
    (answer,) = read(tmp_path, row(order)).answers
    assert (answer.ranks, answer.status) == (ranks, "ranked" if len(ranks) == 3 else "partial")
    assert answer.warnings == ()


def test_order_is_flagged_when_it_is_that_of_the_page(tmp_path):
    returned = read(tmp_path, row("A,B,C"))
    assert (returned.answers[0].warnings, returned.answers[0].touched) == (("order_untouched",), None)
    assert "1 of 1 rankings are the order in which the tool showed the completions" in returned.notes


def test_flag_and_comment_are_kept_when_nothing_was_ranked(tmp_path):
    (answer,) = read(tmp_path, row(flags={"cannot_judge": "1"}, comment={"text_box": "too long"})).answers
    assert (answer.status, answer.flags, answer.comment) == ("flagged", ("cannot_judge",), "too long")


@pytest.mark.parametrize("order, reason", [
    ("A,D,B", "ranks D; the task has A, B, C"), ("A,A", "each once"), ("A,,B", "letters"), ("1,2,3", "letters"),
    (["A", "B"], "ranks with a list"),
])  # fmt: skip
def test_row_is_a_problem_with_its_line_when_the_order_is_none(order, reason, tmp_path):
    returned = read(tmp_path, row("B,A,C"), row(order))
    assert (len(returned.answers), reason in returned.problems[0].problem) == (1, True)
    assert returned.problems[0].where.endswith("annotations.jsonl:line 2")


def test_times_come_from_the_behaviour_when_a_users_state_is_read(tmp_path):
    seen = {"session_start": 0, "total_time_ms": 4200, "annotation_changes": [{"timestamp": 60}, {"timestamp": 5}]}
    pairs = [[{"schema": "ranking", "name": "rank_order"}, "C,B,A"]]
    state = {"user_id": "ann1", "instance_id_to_label_to_value": {TASK.task_id: pairs, "t_gone": []},
             "instance_id_to_behavioral_data": {TASK.task_id: seen}}  # fmt: skip
    path = tmp_path / "user_state.json"
    path.write_text(json.dumps(state, indent=2), "utf-8")
    returned = potato.read(path, BATCH, ReadOptions())
    (answer,) = returned.answers
    assert (answer.started_at, answer.submitted_at, answer.active_seconds) == (
        "1970-01-01T00:00:00.000000Z", "1970-01-01T00:01:00.000000Z", 4.2,
    )  # fmt: skip
    assert (answer.ranks, returned.ignored) == ({C: 1, B: 2, A: 3}, {"neither ranked nor flagged": 1})


def test_config_has_a_letter_for_each_completion_when_sizes_differ(tmp_path):
    potato.export(batch_of(3, 2), tmp_path, ExportOptions())
    for size, labels in ((2, ["A", "B"]), (3, ["A", "B", "C"])):
        config = yaml.safe_load((tmp_path / f"k{size}" / "config.yaml").read_text("utf-8"))
        assert config["annotation_schemes"][0]["labels"] == labels
        assert config["annotation_schemes"][0]["label_requirement"] == {"required": True}
        (line,) = (tmp_path / f"k{size}" / "tasks.jsonl").read_text("utf-8").splitlines()
        assert len(json.loads(line)["completion_ids"]) == size


def test_text_holds_no_markup_that_potato_would_render_when_exported(tmp_path):
    batch = batch_of(3, texts=("<img src=x>", "</script><!-- -->", "see data:x, JavaScript:y"))
    potato.export(batch, tmp_path, ExportOptions())
    text = json.loads((tmp_path / "k3" / "tasks.jsonl").read_text("utf-8"))["text"]
    assert not any(part in text.lower() for part in ("<img", "</script", "<!--", "data:", "javascript:"))
    assert "<img src=x>" in text.replace("\u2060", "") and "see data:x, JavaScript:y" in text.replace("\u2060", "")
