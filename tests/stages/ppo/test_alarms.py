"""Alarms: each is raised by the history it is for, once, and by no healthy one."""

from __future__ import annotations

import pytest

from stages.ppo.alarms import ALARMS, raised

HEALTHY = {
    "objective/kl": 1.0,
    "kl_target": 1.5,
    "kl_coef": 0.1,
    "policy/ratio_deviation": 1e-5,
    "objective/eos_rate": 0.9,
    "policy/clipfrac_avg": 0.03,
    "value/explained_variance": 0.4,
    "objective/scores": 0.5,
    "objective/check_scores": 0.4,
}


def history(*columns: dict[str, list[float]], length: int = 12) -> list[dict[str, float]]:
    changes = {name: values for column in columns for name, values in column.items()}
    return [{**HEALTHY, **{name: values[i] for name, values in changes.items()}} for i in range(length)]


SICK = {
    "negative_kl": {"objective/kl": [1.0] * 9 + [-0.2] * 3},
    "kl_runs_away": {"objective/kl": [2.0] * 9 + [3.2] * 3},
    "ratio_off_one": {"policy/ratio_deviation": [0.0] * 11 + [0.3]},
    "fewer_ends": {"objective/eos_rate": [0.9] * 9 + [0.4] * 3},
    "clipped_often": {"policy/clipfrac_avg": [0.05] * 9 + [0.3] * 3},
    "useless_value_model": {"value/explained_variance": [0.2] * 9 + [-0.1] * 3},
    "proxy_alone_rises": {
        "objective/scores": [0.1 * i for i in range(12)],
        "objective/check_scores": [-0.1 * i for i in range(12)],
    },
}


def test_every_alarm_has_a_history_here() -> None:
    assert set(SICK) == set(ALARMS)


def test_healthy_run_raises_nothing() -> None:
    assert raised(history()) == {}


@pytest.mark.parametrize("name", SICK)
def test_alarm_is_raised_with_a_remedy_and_only_once(name: str) -> None:
    found = raised(history(SICK[name]))
    assert set(found) == {name}
    assert "->" in found[name]
    assert raised(history(SICK[name]), before=[name]) == {}


@pytest.mark.parametrize("name", ["negative_kl", "kl_runs_away", "fewer_ends", "clipped_often"])
def test_one_bad_iteration_raises_nothing(name: str) -> None:
    ((metric, values),) = SICK[name].items()
    assert raised(history({metric: [*([values[0]] * 11), values[-1]]})) == {}


def test_kl_that_comes_back_to_its_target_raises_nothing() -> None:
    assert raised(history({"objective/kl": [9.0 - 0.4 * i for i in range(12)]})) == {}


def test_run_without_value_model_or_second_reward_model_can_be_judged() -> None:
    bare = [{k: v for k, v in row.items() if k not in {"value/explained_variance", "objective/check_scores"}}
            for row in history()]  # fmt: skip
    assert raised(bare) == {}
