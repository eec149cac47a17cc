"""What Label Studio's exports may hold beside a clean answer, and what its project looks like."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
import tool_pages
from tool_batch import batch_of

from pipeline.errors import DataError
from stages.annotation.schema import FLAGS
from stages.exchange import label_studio
from stages.exchange.lookup import reader_of
from stages.exchange.tools import ExportOptions, ReadOptions

BATCH = batch_of(3, 2)
THREE, TWO = BATCH.tasks
DATA = {task.task_id: label_studio.task_data(BATCH, task) for task in BATCH.tasks}
A, B, C = (item["id"] for item in DATA[THREE.task_id]["items"])
LEFT, RIGHT = DATA[TWO.task_id]["left_id"], DATA[TWO.task_id]["right_id"]


def item(kind, name, **value):
    return {"type": kind, "from_name": name, "to_name": "whatever", "value": value}


def tiers(**held):
    return item("ranker", "rank", ranker={"_": [], **held})


def read(tmp_path, *results, task=THREE, options=ReadOptions(), **envelope):  # noqa: B008
    """What comes of a task whose annotations hold these results; the n-th is by user n at second n."""
    annotations = [
        {"id": n, "completed_by": n, "updated_by": n, "was_cancelled": False, "result": result, "lead_time": 4.5,
         "updated_at": f"2026-11-23T17:57:{n:02d}Z", **envelope}
        for n, result in enumerate(results, start=1)
    ]  # fmt: skip
    path = tmp_path / "export.json"
    path.write_text(json.dumps([{"id": 1, "data": DATA[task.task_id], "annotations": annotations}]), "utf-8")
    return label_studio.read(path, BATCH, options)


def only(returned):
    assert (len(returned.answers), returned.problems) == (1, [])
    return returned.answers[0]


def test_gaps_close_when_tiers_were_left_empty(tmp_path):
    answer = only(read(tmp_path, [tiers(tier_1=[B], tier_3=[A, C])]))
    assert (answer.ranks, answer.status, answer.touched) == ({B: 1, A: 2, C: 2}, "ranked", True)


def test_tiers_are_ordered_by_number_when_there_are_ten(tmp_path):
    assert only(read(tmp_path, [tiers(tier_10=[A], tier_2=[B], tier_1=[C])])).ranks == {C: 1, B: 2, A: 3}


def test_csv_is_read_when_a_spreadsheet_saved_it_in_its_own_encoding(tmp_path):
    comment = item("textarea", "comment", text=["tr\u00e8s bien"])
    read(tmp_path, [tiers(tier_1=[B], tier_2=[A, C]), comment], created_at="2026-11-23T17:57:00Z")
    export = tool_pages.as_csv(tool_pages.as_json_min(tmp_path / "export.json"))
    text = export.read_text("utf-8")
    for encoding, notes in (("cp1252", 1), ("utf-16", 0)):
        saved = tmp_path / f"{encoding}.csv"
        saved.write_text(text, encoding)
        assert reader_of(saved, None, {})[1] is label_studio
        returned = label_studio.read(saved, BATCH, ReadOptions())
        assert (only(returned).comment, only(returned).ranks) == ("tr\u00e8s bien", {B: 1, A: 2, C: 2})
        assert sum("Windows-1252" in note for note in returned.notes) == notes


def test_completion_is_not_ranked_when_it_was_left_where_it_was(tmp_path):
    answer = only(read(tmp_path, [item("ranker", "rank", ranker={"_": [A], "tier_1": [C], "tier_2": [B]})]))
    assert (answer.ranks, answer.status) == ({C: 1, B: 2}, "partial")


def test_answer_keeps_who_when_and_how_long_when_submitted(tmp_path):
    remarks = [item("choices", "flags", choices=["unsafe"]), item("textarea", "comment", text=["one", "two"])]
    answer = only(read(tmp_path, [tiers(tier_1=[A, B, C]), *remarks], options=ReadOptions(users={"1": "ann1"})))
    assert (answer.annotator, answer.flags, answer.comment) == ("ann1", ("unsafe",), "one\ntwo")
    assert (answer.active_seconds, answer.submitted_at) == (4.5, "2026-11-23T17:57:01.000000Z")
    assert (answer.shown, answer.task_digest) == ((A, B, C), THREE.digest)
    source = dict(answer.source)
    assert len(source.pop("file_sha256")) == 64
    assert source == {"tool": "label-studio", "record_id": "1", "annotator_raw": "1"}


@pytest.mark.parametrize("flags, ranked, status", [
    (["all_bad"], False, "flagged"), (["all_bad"], True, "flagged"), (["unsafe"], True, "ranked"),
    (["cannot_judge"], True, "flagged"), (["broken_prompt"], False, "flagged"), ([], False, "skipped"),
])  # fmt: skip
def test_status_follows_the_flags_when_a_task_was_flagged(flags, ranked, status, tmp_path):
    result = [tiers(tier_1=[A], tier_2=[B, C]) if ranked else tiers(tier_1=[])]
    result += [item("choices", "flags", choices=flags)] if flags else []
    assert only(read(tmp_path, result)).status == status


@pytest.mark.parametrize("alias, selected, ranks, strength", [
    ("left_much", "left", (1, 2), 3), ("left_better", "left", (1, 2), 2), ("left_slight", None, (1, 2), 1),
    ("right_much", "right", (2, 1), 3), ("tie", None, (1, 1), 0), (None, "right", (2, 1), None),
])  # fmt: skip
def test_pair_has_winner_and_strength_when_chosen(alias, selected, ranks, strength, tmp_path):
    result = [item("choices", "strength", choices=[alias])] if alias else []
    result += [item("pairwise", "preference", selected=selected)] if selected else []
    answer = only(read(tmp_path, result, task=TWO))
    assert ((answer.ranks[LEFT], answer.ranks[RIGHT]), answer.strength) == (ranks, strength)


def test_pair_is_skipped_when_it_was_submitted_untouched(tmp_path):
    answer = only(read(tmp_path, [], task=TWO))
    assert (answer.status, answer.ranks, answer.skip_reason) == ("skipped", {}, "submitted without a ranking")


def test_ranks_come_from_ratings_when_nothing_else_ranks(tmp_path):
    stars = [item("rating", f"rating_{n}", rating=stars) for n, stars in ((1, 2), (2, 5), (3, 2))]
    answer = only(read(tmp_path, stars))
    assert (answer.ranks, answer.warnings) == ({B: 1, A: 2, C: 2}, ("ranks_from_ratings",))


@pytest.mark.parametrize("result, reason", [
    ([tiers(tier_1=[1])], "no lists of ids"),
    ([tiers(tier_1=["c_edited0"])], "ranks c_edited0, which the task does not have"),
    ([tiers(tier_1=[A], tier_2=[A])], "twice"),
    ([tiers(good=[A], bad=[B])], "bucket 'good' without a number"),
    ([tiers(tier_1=[A]), tiers(tier_1=[B])], "several tags"),
    ([tiers(tier_1=[A]), item("number", "rank_1", number=1)], "several tags"),
    ([item("number", "rank_1", number=4)], "rank 4 of"),
    ([item("number", "rank_4", number=1)], "of no completion"),
    ([item("number", "rank_1", number="first")], "is text"),
    ([item("choices", "strength", choices=["left_hugely"])], "which|strength"),
    (["text"], "without a value"),
])  # fmt: skip
def test_annotation_is_a_problem_with_its_place_when_it_makes_no_sense(result, reason, tmp_path):
    returned = read(tmp_path, result, [tiers(tier_1=[A], tier_2=[B, C])])
    assert [answer.annotator for answer in returned.answers] == ["2"]
    (problem,) = returned.problems
    assert "export.json:task 1, annotation 1" in problem.where and problem.remedy
    assert any(part in problem.problem for part in reason.split("|"))


@pytest.mark.parametrize("alias, selected", [("left_much", "right"), ("tie", "left")])
def test_pair_is_a_problem_when_its_two_answers_differ(alias, selected, tmp_path):
    result = [item("choices", "strength", choices=[alias]), item("pairwise", "preference", selected=selected)]
    returned = read(tmp_path, result, task=TWO)
    assert f"selects '{selected}' and says '{alias}'" in returned.problems[0].problem


def test_answer_warns_when_somebody_else_updated_it(tmp_path):
    assert only(read(tmp_path, [tiers(tier_1=[A, B, C])], updated_by=9)).warnings == ("updated_by 9",)


def test_unread_items_are_named_when_the_page_has_more_tags(tmp_path):
    extra = item("datetime", "when", datetime="2026")
    assert only(read(tmp_path, [tiers(tier_1=[A, B, C]), extra])).warnings == ("not_read datetime",)


def test_newest_answer_stands_when_the_task_was_imported_twice(tmp_path):
    def one(number, best):
        held = {"id": number, "completed_by": 1, "result": [tiers(tier_1=[best])], "updated_at": f"2026-11-2{number}"}
        return {"id": number, "data": DATA[THREE.task_id], "annotations": [held]}

    path = tmp_path / "export.json"
    path.write_text(json.dumps([one(5, A), one(4, B)]), "utf-8")
    returned = label_studio.read(path, BATCH, ReadOptions())
    assert (only(returned).ranks, len(only(returned).superseded)) == ({A: 1}, 1)
    assert returned.ignored == {"replaced by the same person's newer answer": 1}


@pytest.mark.parametrize("bests, answers, ignored", [((0, 1), 2, {}), ((0, 0), 1, {"the same answer again": 1})])
def test_answers_are_not_settled_when_no_time_tells_which_is_newer(bests, answers, ignored, tmp_path):
    results = [[tiers(tier_1=[(A, B)[best]])] for best in bests]
    returned = read(tmp_path, *results, completed_by=1, updated_by=1, updated_at=None)
    assert (len(returned.answers), returned.ignored) == (answers, ignored)


def test_file_is_refused_when_it_answers_another_batch(tmp_path):
    with pytest.raises(DataError, match=f"answers batch {BATCH.batch_id}; the batch here is b_other"):
        other = batch_of(3)
        object.__setattr__(other, "batch_id", "b_other")
        read(tmp_path, [tiers(tier_1=[A])])
        label_studio.read(tmp_path / "export.json", other, ReadOptions())


def test_tasks_are_counted_when_some_are_of_another_batch(tmp_path):
    def task(batch_id):
        held = {"id": 1, "completed_by": 1, "result": [tiers(tier_1=[A])], "updated_at": "2026-11-23"}
        return {"id": 1, "data": {**DATA[THREE.task_id], "batch_id": batch_id}, "annotations": [held]}

    path = tmp_path / "export.json"
    path.write_text(json.dumps([task("b_other"), task(BATCH.batch_id)]), "utf-8")
    returned = label_studio.read(path, BATCH, ReadOptions())
    assert (len(returned.answers), returned.ignored) == (1, {"of another batch (b_other)": 1})


def test_row_is_a_problem_when_its_items_were_edited(tmp_path):
    data = json.loads(json.dumps(DATA[THREE.task_id]))
    data["items"][0]["id"] = "c_edited0"
    held = {"id": 1, "completed_by": 1, "result": [tiers(tier_1=[B])], "updated_at": "2026-11-23"}
    path = tmp_path / "export.json"
    path.write_text(json.dumps([{"id": 1, "data": data, "annotations": [held]}]), "utf-8")
    (problem,) = label_studio.read(path, BATCH, ReadOptions()).problems
    assert problem.problem.startswith(f"shows the completions c_edited0, {B}, {C}; the task has")


def test_model_text_is_no_answer_when_it_looks_like_one_in_a_csv(tmp_path):
    batch = batch_of(2, texts=('[{"selected": "left"}]', '{"text": "x"}'))
    label_studio.export(batch, tmp_path, ExportOptions())
    task = batch.tasks[0]
    answers = {("ann1", task.task_id): dict.fromkeys(task.ids, 1)}
    (exported,) = tool_pages.label_studio(tmp_path, answers, {"ann1": 1}).values()
    answer = only(label_studio.read(tool_pages.as_csv(tool_pages.as_json_min(exported)), batch, ReadOptions()))
    assert (answer.ranks, answer.strength, answer.comment) == (dict.fromkeys(task.ids, 1), 0, "")


def test_config_has_a_bucket_for_each_place_when_tasks_differ_in_size(tmp_path):
    label_studio.export(batch_of(3, 5, 2, 4), tmp_path, ExportOptions())
    config = ElementTree.parse(tmp_path / "rankings" / "config.xml")
    assert [bucket.get("name") for bucket in config.iter("Bucket")] == [f"tier_{n}" for n in range(1, 6)]
    assert [choice.get("alias") for choice in config.iter("Choice")] == list(FLAGS)
    sizes = [len(task["data"]["items"]) for task in json.loads((tmp_path / "rankings" / "tasks.json").read_text())]
    assert sizes == [3, 5, 4]
    assert len(json.loads((tmp_path / "pairs" / "tasks.json").read_text())) == 1


def test_project_asks_for_as_many_answers_as_the_batch_when_written(tmp_path):
    label_studio.export(batch_of(3, people=("a", "b", "c")), tmp_path, ExportOptions())
    project = json.loads((tmp_path / "rankings" / "project.json").read_text("utf-8"))
    assert project["maximum_annotations"] == 3
    assert project["label_config"] == (tmp_path / "rankings" / "config.xml").read_text("utf-8")
    assert 3 <= len(project["title"]) <= 50


def test_export_is_refused_when_an_id_looks_like_a_number(tmp_path):
    batch = batch_of(3)
    object.__setattr__(batch.tasks[0].completions[0], "id", "12")
    with pytest.raises(DataError, match="'12' does not begin with a letter"):
        label_studio.export(batch, tmp_path, ExportOptions())
