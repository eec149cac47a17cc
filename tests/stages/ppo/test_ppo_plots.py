"""The curve of reward against KL that a PPO run leaves."""

from __future__ import annotations

from stages.ppo.evaluation import reward_against_kl


def iteration(kl: float, score: float, **more: float) -> dict[str, float]:
    return {"objective/kl": kl, "objective/scores": score, **more}


def test_curve_follows_the_iterations_when_kl_goes_back() -> None:
    (plot,) = reward_against_kl([iteration(0, 1), iteration(5, 3), iteration(4, 2)])
    assert [(p.name, p.x, p.y) for p in plot.points] == [
        ("iteration 1", 0, 1),
        ("iteration 2", 5, 3),
        ("iteration 3", 4, 2),
    ]
    assert plot.joined


def test_curve_has_the_watched_reward_model_beside_it_when_there_is_one() -> None:
    checked = {"objective/check_scores": -1.0}
    plots = reward_against_kl([iteration(0, 1, **checked), iteration(5, 3, **checked)])
    assert [(plot.title.split()[0], plot.points[1].y) for plot in plots] == [("Proxy", 3), ("Check", -1)]


def test_curve_is_left_out_when_there_is_one_iteration() -> None:
    assert reward_against_kl([iteration(0, 1)]) == []
