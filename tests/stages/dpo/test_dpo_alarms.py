"""Alarms of DPO: raised by chosen answers that lose their probability, and by nothing else."""

from __future__ import annotations

import pytest

from stages.dpo.alarms import chosen_falls, relative_change, verdict


def step(chosen: float, reference: float = -50.0, beta: float = 0.1) -> dict[str, float]:
    return {"logps/chosen": chosen, "rewards/chosen": beta * (chosen - reference)}


def test_change_is_a_share_of_the_references() -> None:
    assert relative_change(logprob=-60, gain=-10) == pytest.approx(-0.2)  # from -50
    assert relative_change(logprob=-45, gain=5) == pytest.approx(0.1)


def test_fall_over_three_steps_is_told_with_a_remedy() -> None:
    told = chosen_falls([step(-50), step(-56), step(-57), step(-60)], beta=0.1)
    assert told and "fell by 20%" in told and "->" in told


@pytest.mark.parametrize(
    "chosen",
    [[-50, -51, -54], [-56, -57], [-60, -60, -54], [-40, -30, -20]],
    ids=["within a tenth", "two steps", "not the last", "rising"],
)
def test_other_histories_raise_nothing(chosen: list[float]) -> None:
    assert chosen_falls([step(value) for value in chosen], beta=0.1) is None


def test_fall_is_reckoned_with_the_runs_beta() -> None:
    history = [step(-60, beta=0.5)] * 3
    assert chosen_falls(history, beta=0.5)
    assert chosen_falls(history, beta=5.0) is None  # the same rewards would be a fall of 1 in 59


@pytest.mark.parametrize(
    ("margin", "change", "said"),
    [
        (0.3, -0.03, "margins up by 0.3 with the chosen log-probability within 10% of the reference's (-3.0%)"),
        (0.3, 0.25, "margins up by 0.3 with the chosen log-probability above the reference's (+25.0%)"),
        (0.3, -0.12, "margins up by 0.3, but the chosen log-probability fell by 12.0% -> raise beta"),
        (-0.1, 0.0, "margins did not rise (-0.1)"),
    ],
)
def test_verdict_names_margin_and_change(margin: float, change: float, said: str) -> None:
    assert verdict(margin, change).startswith(said)
