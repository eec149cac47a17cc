"""What goes wrong in PPO runs, recognised from the logged figures, with a diagnosis and a remedy in words.

Each alarm looks at the iterations so far and is raised once. Thresholds are of figures whose healthy range
is known: see each function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

History = Sequence[Mapping[str, float]]  # the metrics of each iteration, first to last
LATELY = 3  # iterations a figure must hold for, so that noise raises nothing


def negative_kl(history: History) -> str | None:
    """KL is never negative; its estimate on samples is so on average only if the samples are not the policy's."""
    if _always(history, "objective/kl", lambda kl: kl < -0.1):
        return (
            "KL to the reference is below zero: the answers were not drawn from the distribution that is scored "
            "-> look for a sampler that cuts the distribution, or another temperature"
        )
    return None


def ratio_off_one(history: History) -> str | None:
    """Before the first optimizer step old and new policy are one, but for rounding."""
    worst = history[-1].get("policy/ratio_deviation", 0.0)
    if worst > 0.05:
        return (
            f"the probability ratio is off one by {worst:.2g} before the first step of a batch: "
            "log-probabilities of one policy differ between two forwards "
            "-> look for dropout, a changed adapter, or a fault in the decode loop"
        )
    return None


def kl_runs_away(history: History) -> str | None:
    """A controller moves its coefficient by at most 0.2 * batch / kl_horizon of itself; a fast policy outruns it."""
    if "kl_target" not in history[0]:
        return None
    target, coef = history[-1]["kl_target"], history[-1]["kl_coef"]
    falls = history[-1]["objective/kl"] < history[-LATELY:][0]["objective/kl"]
    if _always(history, "objective/kl", lambda kl: kl > 2 * target) and not falls:
        return (
            f"KL has been above twice its target of {target:g} for {LATELY} iterations, though kl_coef has come from "
            f"{history[0]['kl_coef']:.2g} to {coef:.2g} -> lower learning_rate or kl_horizon, or raise kl_coef"
        )
    return None


def fewer_ends(history: History) -> str | None:
    """The share of answers that end by themselves has halved since the first iteration."""
    first = history[0]["objective/eos_rate"]
    if first > 0.2 and _always(history, "objective/eos_rate", lambda rate: rate < first / 2):
        return (
            f"answers no longer end: {first:.0%} did at first, {history[-1]['objective/eos_rate']:.0%} do now "
            "-> raise missing_eos_penalty or kl_coef, and check that the reward does not favour length"
        )
    return None


def clipped_often(history: History) -> str | None:
    """A clip fraction is below 0.05 in healthy runs (Huang et al. 2024 log 0.03 to 0.07)."""
    if _always(history, "policy/clipfrac_avg", lambda share: share > 0.2):
        return "over a fifth of the tokens are clipped -> lower learning_rate or num_ppo_epochs"
    return None


def useless_value_model(history: History) -> str | None:
    """Explained variance below zero: a constant would predict the returns better."""
    if len(history) >= 10 and _always(history, "value/explained_variance", lambda share: share < 0):
        return (
            "the value model predicts worse than a constant -> set gae_lambda: 1.0, raise an adapter's "
            "value_learning_rate, or train with kind: rloo"
        )
    return None


def proxy_alone_rises(history: History) -> str | None:
    """The optimised reward rises while the watched one falls, each by half a deviation of the reference's answers."""
    if len(history) < 2 * LATELY or "objective/check_scores" not in history[0]:
        return None
    proxy, check = (_rise(history, name) for name in ("objective/scores", "objective/check_scores"))
    if proxy > 0.5 and check < -0.5:
        return (
            f"the proxy rose by {proxy:.2g} while the second reward model's score fell by {-check:.2g}: the policy is "
            "gaming its reward -> stop earlier, raise kl_coef, or collect more comparisons"
        )
    return None


ALARMS: dict[str, Callable[[History], str | None]] = {
    alarm.__name__: alarm
    for alarm in (
        negative_kl,
        kl_runs_away,
        ratio_off_one,
        fewer_ends,
        clipped_often,
        useless_value_model,
        proxy_alone_rises,
    )
}


def raised(history: History, before: Sequence[str] = ()) -> dict[str, str]:
    """The alarms that these iterations raise, by name, but for those raised before."""
    found = {name: alarm(history) for name, alarm in ALARMS.items() if name not in before}
    return {name: text for name, text in found.items() if text is not None}


def _always(history: History, name: str, holds: Callable[[float], bool]) -> bool:
    """Whether the figure has been so in each of the last iterations."""
    lately = [metrics[name] for metrics in history[-LATELY:] if name in metrics]
    return len(lately) == LATELY and all(holds(value) for value in lately)


def _rise(history: History, name: str) -> float:
    first, last = ([metrics[name] for metrics in part] for part in (history[:LATELY], history[-LATELY:]))
    return sum(last) / LATELY - sum(first) / LATELY
