"""Which rankings each loss reads, what it makes of them, and which settings go together."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from ranked_items import of_ranks
from torch import Tensor

from stages import rm
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
        ({"ties": "rao_kupper", "theta": 1}, "greater than 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rm.Config(data="rows", **settings)
