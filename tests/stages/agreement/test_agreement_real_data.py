"""Agreement between real annotators, as the data's README states it; skipped where POSTTUNE_TEST_DATA is not set."""

from __future__ import annotations

import csv
import gzip
import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from agreement_cases import BATCH, answer, batch, task

from stages.agreement.agreement import measure, pairwise_apart
from stages.agreement.alpha import alpha
from stages.agreement.concordance import tau_matrix
from stages.agreement.judged import Judged, meetings

DATA = Path(os.environ.get("POSTTUNE_TEST_DATA", "/nowhere")) / "preference"
pytestmark = pytest.mark.skipif("POSTTUNE_TEST_DATA" not in os.environ, reason="POSTTUNE_TEST_DATA is not set")
NAN = np.nan


def lines(name):
    with gzip.open(DATA / name, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def table(votes):
    """[annotators, units] of {unit: {annotator: value}}."""
    names = sorted({name for given in votes.values() for name in given})
    return np.array([[given.get(name, NAN) for given in votes.values()] for name in names], float)


@pytest.mark.parametrize("name, tau, apart", [("zh_en", 0.3128, 0.710), ("en_de", 0.4105, 0.735)])
def test_translators_tau_and_agreement_are_as_stated(name, tau, apart):
    rows = lines(f"mqm_{name}_3raters.jsonl.gz")
    tasks = [Judged(r["id"], tuple(r["penalties"]), np.array(list(r["penalties"].values()), float)) for r in rows]
    found = tau_matrix(tasks).values()
    assert sum(f.value * f.n for f in found) / sum(f.n for f in found) == pytest.approx(tau, abs=5e-5)
    assert pairwise_apart(meetings(tasks)).value == pytest.approx(apart, abs=5e-4)


def test_two_judges_of_alpacaeval_agree_as_stated():
    given = [(row["ranks"], row["scores_judge2"]) for row in lines("alpacaeval_ranked.jsonl.gz")]
    scored = [(ranks, [NAN if s is None else -s for s in scores]) for ranks, scores in given]
    tasks = [Judged(str(n), ("gpt-4-turbo", "gpt-4"), np.array(both, float)) for n, both in enumerate(scored)]
    assert pairwise_apart(meetings(tasks)).value == pytest.approx(0.906, abs=5e-4)


def test_pandalms_alpha_is_as_stated():
    rows = json.loads((DATA / "pandalm_3annotators.json").read_text("utf-8"))
    votes = np.array([[row[f"annotator{i}"] for row in rows] for i in (1, 2, 3)], float)
    assert alpha(votes, "nominal") == pytest.approx(0.8318, abs=5e-5)


@pytest.mark.parametrize("aspect, stated", [("meaning", 0.6322), ("fluency", 0.5596), ("simplicity", 0.4473)])
def test_crowd_workers_alpha_is_as_stated(aspect, stated):
    votes = defaultdict(dict)
    with gzip.open(DATA / "asset_ratings_15workers.csv.gz", "rt", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["aspect"] == aspect:
                votes[row["original_sentence_id"]][row["worker_id"]] = float(row["rating"])
    assert alpha(table(votes)) == pytest.approx(stated, abs=5e-5)


STEPS = {"a-is-better": 0, "a-is-slightly-better": 1, "tie": 2, "b-is-slightly-better": 3, "b-is-better": 4}


@pytest.mark.parametrize("metric, scale, stated", [("nominal", [0, 0, 1, 2, 2], 0.3402), ("ordinal", range(5), 0.3147)])
def test_tulu_evaluators_alpha_is_as_stated(metric, scale, stated):
    with gzip.open(DATA / "argilla_tulu_flat.converted.json.gz", "rt", encoding="utf-8") as stream:
        rows = json.load(stream)
    votes = {}
    for row in rows:
        given = list(zip(row["preference.responses.users"], row["preference.responses"], strict=True))
        votes[row["id"]] = {user: list(scale)[STEPS[said]] for user, said in reversed(given)}  # the first counts
    assert alpha(table(votes), metric) == pytest.approx(stated, abs=5e-5)


def test_translators_answers_as_a_batch_read_as_published_data():
    rows = lines("mqm_zh_en_3raters.jsonl.gz")
    tasks, given = [], []
    for n, row in enumerate(rows):
        texts = dict.fromkeys(row["completions"])  # equal texts are one completion
        tasks.append(task(n, *texts, prompt=row["prompt"]))
        places = [row["completions"].index(text) for text in texts]
        for rater, penalties in row["penalties"].items():
            own = sorted({penalties[i] for i in places})
            given.append(answer(tasks[-1], rater, *(own.index(penalties[i]) + 1 for i in places)))
    found = measure(batch(tasks), given)
    assert (found.batch_id, found.num_overlapped) == (BATCH, 216)
    assert 0.69 < found.pairwise_apart.value < 0.73 and 0.3 < found.alpha.value < 0.6
    assert len(found.disputed) == 20 and found.cycles and not found.reversals
