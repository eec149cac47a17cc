"""Which rankings each loss reads, what it makes of them, and which settings go together."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from ranked_items import of_ranks
from torch import Tensor

from stages import rm
from stages.formats.records import Ranking
from stages.rm.config import READS
from stages.rm.data import Ranked, judgements
from stages.rm.losses import LOSSES, loss_of

SCORES, PAIR = [2.0, 1.0, 0.5, -1.0], [1.5, 0.3]  # the golden values' scores


def measure(scores: list[float], items: list[Ranked], **settings: Any) -> Tensor:
    config = rm.Config(data="rows", **settings)
    loss = loss_of(config)
    read = [loss.reads(item) for item in items]
    return loss.measure(torch.tensor(scores, dtype=torch.float64), judgements(read), config)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1783207212, 0.2632824673]),
        ({"ties": "soft"}, [0.2692800984, 0.2632824673]),
        ({"label_smoothing": 0.1}, [None, 0.3832824673]),
        ({"ties": "soft", "label_smoothing": 0.1}, [None, 0.3832824673]),
    ],
)
def test_each_prompts_loss_matches_golden(settings: dict[str, Any], expected: list[float | None]) -> None:
    found = measure(SCORES + PAIR, [of_ranks((1, 2, 2, 4)), of_ranks((1, 2))], **settings).tolist()
    assert [f for f, e in zip(found, expected, strict=True) if e] == pytest.approx([e for e in expected if e], abs=1e-9)


def test_plackett_luce_matches_golden_in_whatever_order_the_answers_stand() -> None:
    shuffled = [0.5, 2.0, -1.0, 1.0]
    found = measure(PAIR + shuffled, [of_ranks((1, 2)), of_ranks((3, 1, 4, 2))], loss_type="plackett_luce")
    assert found.tolist() == pytest.approx([0.2632824673, 1.2515520957], abs=1e-9)


def test_plackett_luce_reads_a_partial_ranking_and_the_mean_of_several() -> None:
    pair = of_ranks((1, None, 2), (2, None, 1))
    found = measure([1.5, 9.0, 0.3], [pair], loss_type="plackett_luce")
    assert found.tolist() == pytest.approx([(0.2632824673 + 1.4632824673) / 2], abs=1e-9)


def test_plackett_luce_leaves_out_a_ranking_with_a_tie() -> None:
    read = LOSSES["plackett_luce", "drop"].reads(of_ranks((1, 1, 2), (1, 2, 3)))
    assert read.orders == [[0, 1, 2]] and len(read.rankings) == 1
    assert not LOSSES["plackett_luce", "drop"].reads(of_ranks((1, 1, 2))).pairs


def test_rao_kupper_gives_ties_a_likelihood() -> None:
    found = measure([1.0, 0.5, 1.0, 0.5], [of_ranks((1, 2)), of_ranks((1, 1))], ties="rao_kupper", theta=math.exp(0.5))
    assert found.tolist() == pytest.approx([math.log(2), -math.log(0.2310585786)], abs=1e-9)


def test_equal_answers_tie_as_often_as_theta_says() -> None:
    (found,) = measure([0.7, 0.7], [of_ranks((1, 1))], ties="rao_kupper", theta=3)
    assert math.exp(-found) == pytest.approx((3 - 1) / (3 + 1))


@pytest.mark.parametrize(
    ("ranks", "share"),
    [([(1, 2)], 3 / 4), ([(1, 2), (1, 2)], 5 / 6), ([(1, 2), (2, 1), (1, 2)], 2 / 3), ([(1, 2), (1, 1)], 3 / 4)],
)
def test_soft_bradley_terry_learns_the_share_of_votes(ranks: list[tuple[int, int]], share: float) -> None:
    found = measure(PAIR, [of_ranks(*ranks)], loss_type="soft_bradley_terry")
    assert found.tolist() == pytest.approx([share * 0.2632824673 + (1 - share) * 1.4632824673], abs=1e-6)


def test_soft_bradley_terry_counts_a_tie_as_half_when_ties_are_soft() -> None:
    found = measure(PAIR, [of_ranks((1, 2), (1, 1), (1, 2))], loss_type="soft_bradley_terry", ties="soft")
    assert found.tolist() == pytest.approx([5 / 6 * 0.2632824673 + 1 / 6 * 1.4632824673], abs=1e-6)


def test_soft_bradley_terry_counts_votes_by_their_weight_and_ignores_those_of_none() -> None:
    voters = [Ranking("ann", (1, 2), 3.0), Ranking("ben", (2, 1)), Ranking("cid", (2, 1)), Ranking("dan", (2, 1), 0.0)]
    found = measure(PAIR, [Ranked([5], [[6, 2], [7, 2]], tuple(voters))], loss_type="soft_bradley_terry")
    assert found.tolist() == pytest.approx([3 / 5 * 0.2632824673 + 2 / 5 * 1.4632824673], abs=1e-6)
    unheard = LOSSES["soft_bradley_terry", "drop"].reads(Ranked([5], [[6, 2], [7, 2]], (voters[3],)))
    assert not unheard.pairs


def test_soft_bradley_terry_keeps_whoever_ranked_all_from_drowning_whoever_ranked_two() -> None:
    full, two = (1, 2, 3, 4), (2, 1, None, None)
    (found,) = measure(SCORES, [of_ranks(full, full, full, two)], loss_type="soft_bradley_terry").tolist()
    differences = {(i, j): SCORES[i] - SCORES[j] for i in range(4) for j in range(i + 1, 4)}
    share = {pair: 0.75 if pair == (0, 1) else 1.0 for pair in differences}  # a quarter of the votes is for the other
    weight = {pair: 1.5 if pair == (0, 1) else 0.5 for pair in differences}  # three sixths, and the one pair of `two`
    each = [weight[p] * (math.log1p(math.exp(-d)) + (1 - share[p]) * d) for p, d in differences.items()]
    assert found == pytest.approx(sum(each) / 4, abs=1e-6)


def test_recipe_offers_every_loss_there_is() -> None:
    assert set(READS) == set(LOSSES)
    offered = [get_args(rm.Config.model_fields[name].annotation) for name in ("loss_type", "ties")]
    assert [set(own) for own in offered] == [{pair[i] for pair in READS} for i in (0, 1)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss_type": "plackett_luce", "ties": "soft"}, "plackett_luce does not read ties soft .it takes drop."),
        ({"loss_type": "plackett_luce", "label_smoothing": 0.1}, "does not read label_smoothing"),
        ({"ties": "rao_kupper"}, "needs theta"),
        ({"ties": "rao_kupper", "theta": 2, "label_smoothing": 0.1}, "does not read label_smoothing"),
        ({"ties": "soft", "theta": 2}, "does not read theta"),
        ({"loss_type": "soft_bradley_terry", "label_smoothing": 0.1}, "does not read label_smoothing"),
        ({"ties": "rao_kupper", "theta": 1}, "greater than 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rm.Config(data="rows", **settings)
