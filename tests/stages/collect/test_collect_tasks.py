"""Questions become a blind batch: ids say nothing, work is dealt evenly, gold and repeats are hidden among the rest."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from stages.annotation.batch import Batch, read_batch, write_batch
from stages.annotation.schema import BATCH_ID, ID
from stages.collect.config import Config
from stages.collect.tasks import Question, build

USER = ({"role": "user", "content": "ask"},)


def question(number: int, *texts: str, ranks: tuple[int | None, ...] = ()) -> Question:
    texts = texts or (f"good {number}", f"fair {number}", f"bad {number}")
    origins = tuple(({"policy": "sft-secret", "sample_index": i},) for i in range(len(texts)))
    return Question(f"q{number}", USER, texts, origins, ranks)


def made(count: int = 40, num_gold: int = 6, **settings: object) -> Batch:
    given = {"policies": "base", "data": "rows", "annotators": ("ann", "bo", "cy", "di"), **settings}
    gold = [question(1000 + i, ranks=(1, 2, 2)) for i in range(num_gold)]
    return build(Config(**given), [question(i) for i in range(count)], gold, seed=3)  # type: ignore[arg-type]


def of_kind(batch: Batch, kind: str) -> list[str]:
    return [task_id for task_id, line in batch.key.items() if line["kind"] == kind]


def test_ids_are_opaque_and_all_different() -> None:
    batch = made()
    ids = [task.task_id for task in batch.tasks] + [id_ for task in batch.tasks for id_ in task.ids]
    assert all(ID.fullmatch(id_) for id_ in ids) and BATCH_ID.fullmatch(batch.batch_id)
    assert len(set(ids)) == len(ids)


def test_every_task_goes_to_three_people_when_there_are_few() -> None:
    batch = made()
    times = Counter(one.task_id for one in batch.assignments if one.kind == "normal")
    assert len(times) == 40
    assert set(times.values()) == {3}
    own = Counter(one.annotator for one in batch.assignments if one.kind == "normal")
    assert max(own.values()) - min(own.values()) <= 1


@pytest.mark.parametrize(("overlap", "several"), [(None, 80), (0.5, 200), (0.0, 0)])
def test_a_share_of_the_tasks_overlaps_when_there_are_many(overlap: float | None, several: int) -> None:
    batch = made(400, overlap=overlap)
    times = Counter(one.task_id for one in batch.assignments if one.kind == "normal")
    assert len(times) == 400
    assert Counter(times.values()) == Counter({1: 400 - several, 3: several})


def test_task_goes_to_whoever_there_is_when_annotators_are_fewer_than_overlap() -> None:
    times = Counter(one.task_id for one in made(annotators=("ann",)).assignments if one.kind == "normal")
    assert set(times.values()) == {1}


def test_each_annotator_meets_gold_whose_ranks_only_the_key_knows() -> None:
    batch = made()
    for name in batch.annotators:
        gold = [one for one in batch.assignments if one.annotator == name and one.kind == "gold"]
        assert len(gold) == 5
        for one in gold:
            ranks = {
                batch.by_id[one.task_id].text(id_).split()[0]: r for id_, r in batch.key[one.task_id]["gold"].items()
            }
            assert ranks == {"good": 1, "fair": 2, "bad": 2}


def test_repeated_task_has_new_ids_and_comes_later() -> None:
    batch = made(repeat_fraction=0.2)
    repeats = of_kind(batch, "repeat")
    assert len(repeats) == 4 * 6  # a fifth of each one's 30
    for again in repeats:
        first, task = batch.by_id[batch.key[again]["repeat_of"]], batch.by_id[again]
        assert [c.text for c in task.completions] == [c.text for c in first.completions]
        assert not set(task.ids) & set(first.ids)
        (name,) = {one.annotator for one in batch.assignments if one.task_id == again}
        order = [one.task_id for one in batch.assignments if one.annotator == name]
        assert order.index(again) > order.index(first.task_id)


def test_answers_are_shuffled_anew_for_each_annotator() -> None:
    batch = made(200)
    places = Counter(
        [batch.by_id[one.task_id].text(id_).split()[0] for id_ in one.shown].index("good")
        for one in batch.assignments
        if one.kind == "normal"
    )
    assert all(170 < places[place] < 230 for place in range(3))  # 600 assignments: 200 each, within 3 deviations


def test_tasks_file_names_no_policy_and_no_gold(tmp_path: Path) -> None:
    write_batch(tmp_path, made())
    blind = (tmp_path / "tasks.jsonl").read_text("utf-8")
    assert not re.search('sft-secret|gold|repeat|"q1|sample_index', blind)
    assert (tmp_path / "key.jsonl").stat().st_mode & 0o077 == 0


def test_batch_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    batch = made()
    write_batch(tmp_path, batch)
    read = read_batch(tmp_path)
    assert (read.tasks, read.assignments, read.digest) == (batch.tasks, batch.assignments, batch.digest)
    assert read.of("ann") == batch.of("ann")


def test_same_questions_give_the_same_batch_and_another_seed_another_one() -> None:
    config = Config(policies="base", data="rows", annotators=("ann",))
    first, again, other = (build(config, [question(1), question(2)], [], seed) for seed in (1, 1, 2))
    assert first == again
    assert {t.task_id for t in first.tasks}.isdisjoint(t.task_id for t in other.tasks)


def test_equal_texts_of_two_policies_are_one_answer_and_the_key_knows_both() -> None:
    origins = (({"policy": "sft"}, {"policy": "ppo"}), ({"policy": "ppo"},))
    config = Config(policies="base", data="rows", annotators=("ann",))
    batch = build(config, [Question("q", USER, ("same", "other"), origins)], [], 1)
    (line,) = batch.key.values()
    (task,) = batch.tasks
    same = next(c.id for c in task.completions if c.text == "same")
    wrote = [entry["policy"] for id_, entry in line["completions"].items() if same in (id_, entry["duplicate_of"])]
    assert wrote == ["sft", "ppo"]
    assert json.dumps(task.as_row()).count('"text"') == 2


def test_kinds_of_tasks_cannot_be_told_by_their_place_in_the_file() -> None:
    batch = made(40, repeat_fraction=0.2)
    kinds = [batch.key[task.task_id]["kind"] for task in batch.tasks]
    half = len(kinds) // 2
    assert min(Counter(kinds[:half])["repeat"], Counter(kinds[half:])["repeat"]) > 3
    assert [task.task_id for task in batch.tasks] == sorted(task.task_id for task in batch.tasks)


def test_other_instructions_are_another_batch_and_another_wait_is_not() -> None:
    ids = [made(8, **changes).batch_id for changes in ({}, {"instructions": "Be kind."}, {"min_rankings": 3})]
    assert ids[0] == ids[2] != ids[1]
