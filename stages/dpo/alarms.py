"""What goes wrong in DPO where loss and accuracy look well, recognised from the logged figures, with a remedy.

The loss asks only for a margin. A policy can widen it by making the chosen answer less likely and the rejected one
less likely still (Pal et al. 2024, DPO-Positive); what it then says instead, no pair shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LATELY = 3  # logged steps a figure must hold for, so that noise raises nothing
FALL = 0.1  # of the chosen answers' log-probability under the reference
REMEDY = "raise beta or sft_weight, lower learning_rate, or try loss_type apo_zero"


def relative_change(logprob: float, gain: float) -> float:
    """What a log-probability has gained since the reference, as a share of the reference's; below zero it fell."""
    return gain / max(abs(logprob - gain), 1e-9)


def chosen_falls(history: Sequence[Mapping[str, float]], beta: float) -> str | None:
    """The chosen answers have lost over a tenth of their log-probability, step after step."""
    changes = [relative_change(step["logps/chosen"], step["rewards/chosen"] / beta) for step in history[-LATELY:]]
    if len(changes) == LATELY and max(changes) < -FALL:
        return f"the chosen answers' log-probability fell by {-changes[-1]:.0%} of the reference's -> {REMEDY}"
    return None


def verdict(margin: float, change: float) -> str:
    """How training ended on held-out pairs: the implicit reward's margin, and the chosen answers' relative change."""
    if margin <= 0:
        return f"margins did not rise ({margin:.3g}): the policy prefers the chosen answers no more than its reference"
    if change < -FALL:
        return f"margins up by {margin:.3g}, but the chosen log-probability fell by {-change:.1%} -> {REMEDY}"
    within = "within 10% of" if change <= FALL else "above"
    return f"margins up by {margin:.3g} with the chosen log-probability {within} the reference's ({change:+.1%})"
