"""Whether a reward model has earned that a policy is trained to please it.

PPO finds what a reward model likes, whatever that is: hours against one that orders pairs as a coin does, or as their
lengths do, buy noise or long answers. Its held-out figures travel with it, so the stage can say so before it loads
anything. The rule, for every reward model of an ensemble:

- Refused where the interval of its accuracy is not above chance. A coin gets half of the pairs, so a figure above 0.5
  shows nothing: a coin passes that in every second case, and the interval in one of forty.
- Refused where length alone orders as many pairs or more: "the longer answer wins", or the shorter, whichever orders
  more. Here the figure itself decides. The interval of a difference between two accuracies is some half as wide again,
  and few teams have the prompts to lift it above 0 where people like longer answers, or brief ones; a gate that
  everybody must open guards nothing. Where the interval holds 0 it is said aloud.
- Where fewer than FEW_PROMPTS prompts were held out, or no figures came with it, nothing is known: that is said aloud.

`insist_on_reward: true` makes every refusal a warning. Reward functions are not judged: a program is what it is.
"""

from __future__ import annotations

from pydantic import ValidationError

from pipeline.contract import Artifact, Context
from pipeline.errors import ModelError
from stages.ppo.config import Loop
from stages.rm.standing import NOTE, Standing

REMEDY = (
    "train it on more rankings, or on cleaner ones (the audit stage finds contradictions); or use dpo, which needs "
    "no reward model; or set insist_on_reward: true to go on with it"
)


def check_rewards(config: Loop, context: Context) -> list[str]:
    """What speaks against the reward models, said aloud; ModelError where it is enough to refuse them."""
    faults, doubts = [], []
    for artifact in context.inputs.get("reward", ()):
        standing = _standing(artifact)
        if fault := _fault(standing):
            faults.append(f"reward model {artifact.name} {fault}")
        elif doubt := _doubt(standing):
            doubts.append(f"reward model {artifact.name} {doubt}")
    if faults and not config.insist_on_reward:
        raise ModelError("; ".join(faults), where=f"{config.algorithm}.reward", remedy=REMEDY)
    told = [f"{fault}; the recipe insists on it" for fault in faults] + doubts
    for line in told:
        context.say(f"warning: {line}")
    return told


def _standing(artifact: Artifact) -> Standing | None:
    found = artifact.info.get(NOTE)
    try:
        return None if found is None else Standing.model_validate(found)
    except ValidationError as error:
        raise ModelError(
            f"its held-out figures cannot be read: {error.error_count()} are missing or are no numbers",
            where=f"{artifact.path}/posttune.json: {NOTE}",
            remedy="train the reward model again, with --force",
        ) from error


def _fault(standing: Standing | None) -> str:
    """Why it is refused; empty where it is not."""
    if standing is None or standing.too_few:
        return ""
    (share, low, high), ahead = standing.accuracy, standing.over_length[0]
    if low <= 0.5:
        return (
            f"orders {share:.1%} [{low:.1%}, {high:.1%}] of {standing.num_pairs} held-out pairs of "
            f"{standing.num_prompts} prompts as people did: no better than chance (allowed: an interval above 50%)"
        )
    if ahead <= 0:
        return (
            f"orders {share:.1%} of {standing.num_pairs} held-out pairs as people did, 'the {standing.length_rule} "
            f"answer wins' {share - ahead:.1%}: no better than length (allowed: more than that)"
        )
    return ""


def _doubt(standing: Standing | None) -> str:
    """What is not known of one that is not refused; empty where enough is."""
    if standing is None:
        return "carries no held-out figures: whether it is better than chance is not known"
    if standing.too_few:
        return f"was judged on {standing.too_few.removeprefix('too few: ')}: too few to say whether it is any good"
    ahead, low, high = standing.over_length
    if low <= 0:
        return (
            f"cannot be told apart from 'the {standing.length_rule} answer wins': {100 * ahead:+.1f} points "
            f"[{100 * low:+.1f}, {100 * high:+.1f}] on held-out pairs"
        )
    return ""
