"""The report card: how a reward model orders pairs that it did not learn from, how sure it is, and what it must beat.

Intervals are 95%, by bootstrap over prompts. A figure that too few prompts would carry is not given: its cell says so.
Shapes as in judged.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.contract import Fragment, Plot, Point, Result, Table
from stages.evaluate.answers import with_interval
from stages.objectives.calibration import agreement_ceiling, brier, ece, ece_by_chance, fit_temperature
from stages.objectives.preference import agreements, bradley_terry
from stages.objectives.statistics import bootstrap_ci
from stages.rm.answered import Answered, with_length
from stages.rm.data import Ranked
from stages.rm.drift import by_best_of
from stages.rm.judged import Judged
from stages.rm.slices import by_slice
from stages.rm.standing import FEW_PROMPTS, Interval

FEW_PAIRS = 50  # to fit a temperature on, or to fill ten bins with
ECE = "expected calibration error, 10 bins"
ABOUT_EQUAL = 0.1  # lengths that differ by at most this share of the longer one

Metrics = dict[str, float]
Rows = list[list[str | float | None]]


def report_card(judged: Judged, answered: Answered, items: Sequence[Ranked], start: str) -> Result:
    """All tables and figures; `start` names the policy that the reward model starts from."""
    parts = [_in_short(judged, items), _baselines(judged, start), _calibration(judged), with_length(answered)]
    drift, drift_figures = by_best_of(answered)
    metrics = {name: value for _, figures in parts for name, value in figures.items()} | drift_figures
    first, last = [table for table, _ in parts[:3]], parts[3][0]
    cuts = [_by_margin(judged), *by_slice(judged, items), _by_length(judged), last]
    fragments: list[Fragment] = [*first, *_reliability(judged), *cuts, *drift]
    length, ahead = judged.accuracy(judged.by_length_P)[0], judged.ahead_of(judged.by_length_P)
    summary = [
        f"held-out pair accuracy {with_interval(judged.accuracy())} on {len(judged)} pairs of {judged.num_prompts} "
        "prompts",
        f"against 'the {judged.length_rule} answer wins' ({length:.3g}): the reward model {_verdict(judged, ahead)}, "
        f"{with_interval(ahead)}",
    ]
    return Result(metrics, fragments, summary)


def _in_short(judged: Judged, items: Sequence[Ranked]) -> tuple[Table, Metrics]:
    accuracy = judged.accuracy()
    nll = bootstrap_ci(bradley_terry(judged.score_P, torch.zeros(())), groups=judged.prompt_P)
    ceiling, agreed = _ceiling(items)
    metrics = {
        "heldout/accuracy": accuracy[0],
        "heldout/accuracy_low": accuracy[1],
        "heldout/accuracy_high": accuracy[2],
        "heldout/nll": nll[0],
        "heldout/brier": brier(*_choices(judged.score_P)),
        "heldout/num_pairs": float(len(judged)),
    }
    rows: Rows = [
        ["pair accuracy (chance 0.5)", with_interval(accuracy)],
        ["its ceiling, from the annotators' agreement", ceiling],
        ["negative log-likelihood (chance 0.693)", with_interval(nll)],
        ["Brier score (chance 0.25)", f"{metrics['heldout/brier']:.3g}"],
    ]
    note = (
        f"{len(items)} held-out comparisons of {judged.num_prompts} prompts, {len(judged)} pairs; 95% intervals by "
        "bootstrap over prompts. The ceiling is the best accuracy that single annotators' labels allow: from the share "
        "of pairs on which two of them agree, up to what that share means if all pairs are equally hard"
    )
    return Table("Reward model on held-out comparisons", ["figure", "value"], rows, note), metrics | agreed


def _ceiling(items: Sequence[Ranked]) -> tuple[str, Metrics]:
    """In words; and the agreement where it is known."""
    # Whoever ranked one comparison twice is not a second annotator.
    rankings = [list({ranking.annotator: ranking.ranks for ranking in item.rankings}.values()) for item in items]
    if all(len(own) < 2 for own in rankings):
        return "not known: one annotator", {}
    found = [agreements(own) for own in rankings]
    prompts = [tuple(item.prompt) for item, own in zip(items, found, strict=True) for _ in own]
    if len(set(prompts)) < FEW_PROMPTS:
        return f"not known: two annotators order the same pair in {len(set(prompts))} prompts only", {}
    agreement = bootstrap_ci([float(alike) for own in found for alike in own], groups=prompts)
    low, high = agreement_ceiling(agreement[0])
    words = f"{low:.3g} to {high:.3g} (two annotators agree on {with_interval(agreement)} of {len(prompts)} pairs)"
    return words, {"heldout/agreement": agreement[0]}


def _baselines(judged: Judged, start: str) -> tuple[Table, Metrics]:
    baselines = {
        "longer_wins": ("the longer answer wins", judged.length_P),
        "shorter_wins": ("the shorter answer wins", -judged.length_P),
        "logprob_wins": (f"the likelier answer under {start} wins", judged.logprob_P),
        "token_logprob_wins": (f"the likelier answer a token under {start} wins", judged.token_logprob_P),
    }
    rows: Rows = []
    metrics: Metrics = {}
    for key, (name, judge_P) in baselines.items():
        own, ahead = judged.accuracy(judge_P), judged.ahead_of(judge_P)
        rows.append([name, with_interval(own), with_interval(ahead), _verdict(judged, ahead)])
        metrics |= {f"heldout/{key}": own[0], f"heldout/over_{key}": ahead[0]}
        metrics |= {f"heldout/over_{key}_low": ahead[1], f"heldout/over_{key}_high": ahead[2]}
    columns = ["baseline", "its pair accuracy", "the reward model's, less it", "the reward model"]
    note = "Paired on the same pairs; equal figures count half. A baseline is beaten where the interval is above 0"
    return Table("What the reward model must beat", columns, rows, note), metrics


def _verdict(judged: Judged, ahead: Interval) -> str:
    """In words, for "the reward model ..."."""
    if judged.too_few:
        return "is judged on too few prompts to say"
    return "beats it" if ahead[1] > 0 else "does not beat it" if ahead[2] < 0 else "cannot be told apart from it"


def _calibration(judged: Judged) -> tuple[Table, Metrics]:
    """The temperature is fitted on every other prompt and judged on the rest, or it would flatter itself."""
    fitted, rest = (judged.select(judged.prompt_P % 2 == side) for side in (0, 1))
    title, columns = "Calibration", ["figure", "as trained", "with the temperature"]
    if fitted.too_few or rest.too_few or min(len(fitted), len(rest)) < FEW_PAIRS:
        few = f"too few: {len(fitted)} pairs to fit on, {len(rest)} to judge by; {FEW_PAIRS} of each are needed"
        return Table(title, columns, [[ECE, few, None]]), {}
    temperature = fit_temperature(fitted.score_P)
    before, after = _calibration_figures(rest.score_P), Metrics()
    metrics = {"heldout/ece": before[ECE]}
    source = f"the {len(fitted)} pairs of every other prompt; the figures are of the other {len(rest)} pairs"
    if 0 < temperature < math.inf:
        after = _calibration_figures(rest.score_P / temperature)
        metrics |= {"heldout/ece_calibrated": after[ECE], "heldout/temperature": temperature}
        sure = "too sure of itself" if temperature > 1 else "not sure enough"
        fit = f"P(winner) = sigmoid(difference / {temperature:.3g}): the model is {sure}. Fitted on {source}"
    else:
        why = "winners do not score higher on average" if temperature else "all are ordered rightly"
        fit = f"No temperature fits: {why} in {source}"
    rows: Rows = [[name, f"{v:.3g}", f"{after[name]:.3g}" if after else None] for name, v in before.items()]
    return Table(title, columns, rows, fit), metrics


def _calibration_figures(score_P: Tensor) -> Metrics:
    confidence_P, correct_P = _choices(score_P)
    return {
        ECE: ece(confidence_P, correct_P),
        "the same of a calibrated model, by chance": ece_by_chance(confidence_P),
        "negative log-likelihood": float(bradley_terry(score_P, torch.zeros(())).mean()),
        "Brier score": brier(confidence_P, correct_P),
    }


def _reliability(judged: Judged) -> list[Plot]:
    """Confidence against accuracy, in bins of equally many pairs; none where fewer than two bins could be filled."""
    num_bins = min(10, judged.num_prompts // FEW_PROMPTS, len(judged) // FEW_PROMPTS)
    points = []
    for rank_P in judged.score_P.abs().argsort(stable=True).tensor_split(max(num_bins, 1)):
        own = judged.select(rank_P)
        if not own.too_few:
            mean = float(own.score_P.abs().sigmoid().mean())
            points.append(Point(f"{len(own)} pairs, {own.num_prompts} prompts", mean, *own.accuracy()))
    if len(points) < 2:
        return []
    note = "Scores as trained, pairs in bins of equal size. A calibrated model's accuracy is its confidence"
    if left_out := num_bins - len(points):
        note += f"; bins of fewer than {FEW_PROMPTS} prompts, left out: {left_out}"
    return [Plot("Reliability", "mean confidence", "pair accuracy", points, joined=True, diagonal=True, note=note)]


def _by_margin(judged: Judged) -> Table:
    rows: Rows = []
    for third in judged.score_P.abs().argsort(stable=True).tensor_split(3):
        if len(third):
            own, size_P = judged.select(third), judged.score_P[third].abs()
            span = f"{float(size_P.min()):.2g} to {float(size_P.max()):.2g}"
            rows.append([span, len(own), f"{float(size_P.sigmoid().mean()):.3g}", _accuracy_cell(own)])
    columns = ["difference of the two scores", "pairs", "mean confidence", "accuracy"]
    return Table("Accuracy by how sure the reward model is", columns, rows, "Pairs in thirds; scores as trained")


def _by_length(judged: Judged) -> Table:
    equal_P = judged.length_P.abs() <= ABOUT_EQUAL * judged.longer_P
    parts = {
        "the preferred answer is longer": ~equal_P & (judged.length_P > 0),
        "about equal": equal_P,
        "the preferred answer is shorter": ~equal_P & (judged.length_P < 0),
    }
    rows: Rows = [[name, int(own_P.sum()), _accuracy_cell(judged.select(own_P))] for name, own_P in parts.items()]
    note = f"About equal: within {ABOUT_EQUAL:.0%} of the longer answer's tokens"
    return Table("Accuracy by length", ["lengths", "pairs", "accuracy"], rows, note)


def _accuracy_cell(judged: Judged) -> str:
    return judged.too_few or with_interval(judged.accuracy())


def _choices(score_P: Tensor) -> tuple[Tensor, Tensor]:
    """The probability that the model gives its own choice of each pair, and whether people chose the same."""
    return score_P.abs().sigmoid(), score_P > 0
