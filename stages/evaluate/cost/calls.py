"""What a call costs, in tokens, seconds and money, and after how many calls training has paid for itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from pipeline.contract import Plot, Point, Table
from stages.evaluate.answers import Figures
from stages.evaluate.config import Price
from stages.evaluate.cost.speed import Speed
from stages.evaluate.verdict.primary import direction, values_of
from stages.objectives.comparisons import interval

CALLS = 1000  # that a price is of
NOTE = (
    "Means a call. Many servers charge less for a beginning that many prompts share, or compute it once: a long system "
    "prompt or fixed examples then cost less than their tokens say; what is picked for each question does not"
)
PRICE_NOTE = ". Prices are in the currency of the recipe's `prices`"
SPEED_NOTE = (
    ". Speed on this machine, one call at a time, of a LoRA as merged into the weights (`posttune export`), timed once "
    "for all policies that are asked alike: a server that batches is faster"
)


@dataclass(frozen=True)
class CallCost:
    """Means over calls. `seconds` is None where the speed was not measured, `price` where no price is known."""

    prompt_tokens: float
    new_tokens: float
    seconds: float | None = None
    price: float | None = None  # of 1,000 calls, in the recipe's currency

    @property
    def tokens(self) -> float:
        return self.prompt_tokens + self.new_tokens


def call_cost(
    prompt_lengths: Sequence[int], new_lengths: Sequence[int], speed: Speed | None = None, price: Price | None = None
) -> CallCost:
    """The cost of calls with these prompts and answers (tokens), one at a time.

    price: tokens are charged by the million, time by the hour. An hourly price without a speed gives no price.
    """
    prompt, new = fmean(prompt_lengths), fmean(new_lengths)
    seconds = speed.seconds(new) if speed is not None else None
    if price is None or (price.hour and seconds is None):
        return CallCost(prompt, new, seconds)
    by_tokens = (prompt * price.prompt_tokens + new * price.new_tokens) / 1e6
    return CallCost(prompt, new, seconds, CALLS * (by_tokens + (seconds or 0.0) * price.hour / 3600))


def price_of(prices: Mapping[str, Price], name: str) -> Price | None:
    """A candidate's price, or the default one."""
    return prices.get(name, prices.get("default"))


def training_cost(seconds: float, price: Price | None) -> float | None:
    """What so long a training cost on a machine at this price an hour; None where none is given."""
    return seconds / 3600 * price.hour if price is not None and price.hour else None


def break_even(training_cost: float, per_call_tuned: float, per_call_baseline: float) -> float:
    """After how many calls the training is paid back: its cost / what a call saves; inf where a call saves nothing."""
    saved = per_call_baseline - per_call_tuned
    return training_cost / saved if saved > 0 else math.inf


def told_break_even(tuned: CallCost, baseline: CallCost, training_cost: float | None) -> str:
    """In words, for "training ..."; empty where a price or the training's cost is not known."""
    if tuned.price is None or baseline.price is None or training_cost is None:
        return ""
    calls = break_even(training_cost, tuned.price / CALLS, baseline.price / CALLS)
    if math.isinf(calls):
        return "never pays for itself by cheaper calls, for a call costs no less"
    return f"pays for itself by cheaper calls after {math.ceil(round(calls, 6)):,} of them"


def cost_table(
    costs: Mapping[str, CallCost],
    speeds: Mapping[str, Speed],
    training_costs: Mapping[str, float],
    baseline: str | None = None,
) -> Table:
    """A row a candidate; training is held against `baseline`, the way of asking that it replaces."""
    rows = []
    for name, cost in costs.items():
        speed, paid = speeds.get(name), ""
        if baseline is not None and baseline in costs and name in training_costs:
            paid = told_break_even(cost, costs[baseline], training_costs[name])
        timed = [f"{speed.first_token:.3g}", f"{speed.rate:.3g}" if speed.rate else None] if speed else [None, None]
        price = None if cost.price is None else f"{cost.price:.4g}"
        training = f"{training_costs[name]:.4g}" if name in training_costs else None
        rows.append(
            [name, f"{cost.prompt_tokens:.1f}", f"{cost.new_tokens:.1f}", *timed, price, training, paid or None]
        )
    columns = ["candidate", "prompt tokens", "new tokens", "seconds to the first token", "new tokens a second",
               f"price of {CALLS:,} calls", "price of training", f"training, against {baseline}"]  # fmt: skip
    filled = [0, *(place for place in range(1, len(columns)) if any(row[place] is not None for row in rows))]
    priced = training_costs or any(cost.price is not None for cost in costs.values())
    note = NOTE + (PRICE_NOTE if priced else "") + (SPEED_NOTE if speeds else "")
    return Table("What a call costs", [columns[i] for i in filled], [[row[i] for i in filled] for row in rows], note)


def quality_against_cost(figures: Mapping[str, Figures], primary: str, costs: Mapping[str, CallCost]) -> Plot:
    """The primary figure with its interval over the price of a call, or over its tokens where a price is missing."""
    by_price = all(cost.price is not None for cost in costs.values())
    points = []
    for name, values in values_of(figures, primary).items():
        if name in costs:
            mean, low, high = interval([value for value in values if value is not None])
            cost = costs[name].price if by_price else costs[name].tokens
            points.append(Point(name, float(cost or 0.0), mean, low, high))
    x_label = f"price of {CALLS:,} calls" if by_price else "tokens a call, prompt and answer"
    better = "Up" if direction(primary) > 0 else "Down"
    note = f"95% intervals. {better} and to the left is better" + (PRICE_NOTE if by_price else "")
    return Plot("Quality against cost", x_label, primary, points, note=note)
