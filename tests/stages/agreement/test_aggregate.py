"""Answers as comparison rows: what is in them, what is left out, and that every answer is counted."""

from __future__ import annotations

import numpy as np
import pytest
from agreement_cases import answer, batch, noisy_ranks, task, tasks

from pipeline.contract import DataSource, Source
from pipeline.errors import DataError
from stages.agreement.aggregate import Options, aggregate
from stages.agreement.votes import votes
from stages.annotation.answers import write_rows
from stages.formats import load

A, B, C, D = made = tasks(4, 3)


def test_row_holds_every_annotators_ranks_in_the_completions_order():
    found = aggregate(batch(made), [answer(A, "ben", 2, 2, 1), answer(A, "ann", 1, None, 2)])
    (row,) = found.rows
    assert (row["id"], row["prompt"], row["completions"]) == (
        A.task_id,
        list(A.messages),
        [c.text for c in A.completions],
    )
    assert row["rankings"] == [{"annotator": "ann", "ranks": [1, None, 2]}, {"annotator": "ben", "ranks": [2, 2, 1]}]


def test_written_rows_are_read_as_comparisons(tmp_path):
    found = aggregate(batch(made), [answer(A, "ann", 1, None, 2), answer(B, "ben", 1, 1, 1)])
    write_rows(tmp_path / "comparisons.jsonl", found.rows)
    source = Source("collected", DataSource(path=str(tmp_path / "comparisons.jsonl")))
    assert load(source, "comparison", "all").records == tuple(found.comparisons)
    assert [path.name for path in tmp_path.iterdir()] == ["comparisons.jsonl"]


def test_every_answer_is_used_or_counted_with_its_reason():
    held = batch(made, {2: {"kind": "gold"}, 3: {"kind": "repeat"}})
    given = [
        answer(A, "ann", 1, 2, 3), answer(A, "ben"), answer(A, "cid", 1, None, None),
        answer(B, "ann", 1, 2, 3, flags=("all_bad",)), answer(B, "ben", status="flagged", flags=("unsafe",)),
        answer(B, "eve", 1, 2, 3), answer(C, "ann", 1, 2, 3), answer(D, "ann", 1, 2, 3),
        answer(A, "ann", 3, 2, 1, submitted_at="2026"),
    ]  # fmt: skip
    found = aggregate(held, given, Options(exclude_annotators=frozenset({"eve"})))
    assert found.left_out == {
        "superseded by a later answer": 1, "skipped": 1, "that rank fewer than two completions": 1,
        "flagged all_bad": 1,
        "flagged unsafe": 1, "by excluded annotators": 1, "to gold tasks": 1, "to repeat tasks": 1,
    }  # fmt: skip
    assert (found.num_used, len(found.rows)) == (1, 1)
    assert "1 comparisons from 1 of 9 answers" in found.describe()


def test_gold_and_repeat_tasks_are_rows_when_asked_for():
    held = batch(made, {2: {"kind": "gold"}})
    kinds = frozenset({"normal", "gold"})
    assert len(aggregate(held, [answer(C, "ann", 1, 2, 3)], Options(kinds=kinds)).rows) == 1


def test_origins_of_merged_texts_come_from_the_key():
    one, other, third = A.ids
    key = {one: {"policy": "sft"}, other: {"policy": "ppo", "duplicate_of": None}, third: {"policy": "dpo"},
           "c_merged00": {"policy": "base", "duplicate_of": one}}  # fmt: skip
    (row,) = aggregate(batch(made, {0: {"completions": key}}), [answer(A, "ann", 1, 2, 3)]).rows
    assert row["source"]["completions"] == [
        [{"policy": "sft"}, {"policy": "base"}],
        [{"policy": "ppo"}],
        [{"policy": "dpo"}],
    ]


@pytest.mark.parametrize("text", [" ", "half \ud800", "a\x00b"])
def test_task_that_no_trainer_can_read_is_told_and_counted(text):
    bad = task(9, "fine", text)
    found = aggregate(batch([A, bad]), [answer(bad, "ann", 1, 2), answer(A, "ann", 1, 2, 3)])
    assert (len(found.rows), sum(found.left_out.values())) == (1, 1)
    assert bad.task_id in found.refused[0] and "completions[1]" in found.describe()


def test_dawid_skene_weights_are_in_the_rows_of_who_does_not_count_one():
    generator, many = np.random.default_rng(2), tasks(80, 3)
    given = []
    for one in many:
        quality = generator.normal(size=3)
        given += [answer(one, name, *noisy_ranks(quality, 0.4, generator)) for name in ("ann", "ben", "cid")]
        given.append(answer(one, "flip", *noisy_ranks(-quality, 0.4, generator)))
    given.append(answer(many[0], "new", 1, 2, 3))
    found = aggregate(batch(many), given, Options(weights="dawid_skene"))
    by_name = {ranking["annotator"]: ranking for ranking in found.rows[0]["rankings"]}
    assert by_name["flip"]["weight"] == 0 and "weight" not in by_name["new"]
    assert {r.annotator: r.weight for r in found.comparisons[0].rankings}["flip"] == 0
    assert aggregate(batch(many), given).weights == {}


@pytest.mark.parametrize(("options", "problem", "remedy"), [
    (Options(exclude_annotators=frozenset({"anne"})), "answered nothing", "ann"),
    (Options(weights="dawid-skene"), "equal, dawid_skene are allowed", "dawid_skene"),
])  # fmt: skip
def test_unknown_name_is_refused_with_the_nearest(options, problem, remedy):
    with pytest.raises(DataError, match=problem) as caught:
        aggregate(batch(made), [answer(A, "ann", 1, 2, 3)], options)
    assert remedy in caught.value.remedy


def test_two_peoples_orders_become_shares_of_votes_with_a_weight():
    found = aggregate(batch(made), [answer(A, "ann", 1, 2, 3), answer(A, "ben", 1, 3, 2)])
    (comparison,) = found.comparisons
    pairs = {(vote.first, vote.second): vote for vote in votes(comparison.rankings, False)}
    assert pairs[0, 1].share == pytest.approx(5 / 6) and pairs[1, 2].share == pytest.approx(0.5)
    assert [(vote.num, vote.weight) for vote in pairs.values()] == [(2, pytest.approx(2 / 3))] * 3
