"""The trained policy against its reference: on held-out pairs, on greedy answers, and on answers it samples itself.

Loss and accuracy show neither that the chosen answers became unlikely, nor that the policy's own answers grew long
or went far from the reference's. So these are measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from torch import Tensor

from pipeline.contract import Artifact, Context, Result, Table
from stages.dpo.alarms import verdict
from stages.dpo.config import Config
from stages.dpo.data import Pair, both_sides
from stages.dpo.reference import REFERENCE
from stages.evaluate.answers import (
    as_lines,
    ask,
    before_after,
    heldout_questions,
    kl_to_reference,
    mean_interval,
    measure,
    with_interval,
)
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat
from stages.objectives.statistics import bootstrap_ci, correlation
from stages.rollout.score import in_batches, logprobs
from stages.rollout.sequences import Sequences

TUNED = "tuned"
Rows = list[list[str | float | None]]  # figure, before, after, difference
Found = tuple[Rows, dict[str, float]]  # with the metrics


def evaluate(config: Config, context: Context, chat: Chat, pairs: list[Pair], alarms: Mapping[str, str]) -> Result:
    """What is judged is what was saved."""
    backbone = open_backbone(context.model)
    backbone.load(REFERENCE, context.artifact("reference"))
    backbone.load(TUNED, Artifact(TUNED, "policy", context.output))
    on_pairs, metrics = _on_pairs(config, backbone, pairs)
    greedy, of_greedy = _on_greedy_answers(config, context, backbone, chat)
    sampled, of_sampled = _on_sampled_answers(config, context, backbone, chat)
    rows = [*on_pairs, *greedy, *sampled]
    metrics |= {**of_greedy, **of_sampled}
    note = (
        f"{len(pairs)} held-out pairs; {config.eval_prompts} prompts at most answered greedily, "
        f"{_num_sampled(config)} by sampling at temperature 1; 95% intervals, by bootstrap over prompts but for the "
        "correlation's. Length in tokens"
    )
    columns = ["held-out figure", context.artifact("reference").name, "dpo", "difference"]
    fragments = [Table("Held-out, before and after dpo", columns, rows, note)]
    if alarms:
        raised = [list(alarm) for alarm in alarms.items()]
        fragments.insert(0, Table("Alarms of this run", ["alarm", "diagnosis"], raised))
    summary = verdict(metrics["heldout/margin"], metrics["heldout/chosen_logprob_change"])
    return Result(metrics, fragments, [summary, *as_lines(rows)])


def _on_pairs(config: Config, backbone: Backbone, pairs: list[Pair]) -> Found:
    """Accuracy of the implicit reward, and whether the chosen answers became less likely."""
    own, other = (_logprobs(backbone, role, both_sides(pairs)) for role in (TUNED, REFERENCE))
    chosen, rejected = (own - other)[: len(pairs)], (own - other)[len(pairs) :]
    ids = [pair.id for pair in pairs]
    accuracy = bootstrap_ci((chosen > rejected).float(), groups=ids)
    gain = bootstrap_ci(chosen, groups=ids)
    change = bootstrap_ci(chosen / other[: len(pairs)].mean().abs(), groups=ids)
    rows: Rows = [
        ["implicit-reward pair accuracy", None, with_interval(accuracy), None],
        ["log-probability gained by the preferred answer (nats)", None, with_interval(gain), None],
        ["the same, as a share of the reference's", None, with_interval(change), None],
    ]
    return rows, {
        "heldout/accuracy": accuracy[0],
        "heldout/accuracy_low": accuracy[1],
        "heldout/accuracy_high": accuracy[2],
        "heldout/chosen_logprob_gain": gain[0],
        "heldout/chosen_logprob_change": change[0],
        "heldout/margin": float((chosen - rejected).mean()) * config.beta,
    }


def _on_greedy_answers(config: Config, context: Context, backbone: Backbone, chat: Chat) -> Found:
    """What a program can check, of what a deployed model would say."""
    questions = heldout_questions(context.data["data"], chat, config.eval_prompts, context.seed)
    if not questions:
        return [], {}
    old, new = (
        measure(questions, ask(backbone, role, chat, questions, context, max_new_tokens=config.max_new_tokens))
        for role in (REFERENCE, TUNED)
    )
    rows = [before_after(name, old[name], new[name]) for name in new]
    return rows, {f"heldout/{name}": mean_interval(values)[0] for name, values in new.items()}


def _on_sampled_answers(config: Config, context: Context, backbone: Backbone, chat: Chat) -> Found:
    """Length, KL, and whether the implicit reward is one for length, on each model's own samples."""
    questions = heldout_questions(context.data["data"], chat, _num_sampled(config), context.seed)
    if not questions:
        return [], {}
    limit = config.max_new_tokens
    before, after = (
        ask(backbone, role, chat, questions, context, max_new_tokens=limit, temperature=1.0)
        for role in (REFERENCE, TUNED)
    )
    old, new = measure(questions, before), measure(questions, after)
    rows = [before_after(f"{name}, sampled", old[name], new[name]) for name in ("length", "ended")]
    kl = mean_interval(kl_to_reference(backbone, TUNED, REFERENCE, questions, after))
    own, other = (_logprobs(backbone, role, after.sequences(questions)) for role in (TUNED, REFERENCE))
    by_length = correlation(own - other, [float(len(completion.ids)) for completion in after.completions])
    rows += [
        ["KL to the reference (nats an answer)", None, with_interval(kl), None],
        ["correlation of the implicit reward with length", None, with_interval(by_length), None],
    ]
    return rows, {
        "heldout/sampled_length": mean_interval(new["length"])[0],
        "heldout/sampled_ended": mean_interval(new["ended"])[0],
        "heldout/kl": kl[0],
        "heldout/reward_length_correlation": by_length[0],
    }


def _num_sampled(config: Config) -> int:
    return min(config.sampled_prompts, config.eval_prompts)


def _logprobs(backbone: Backbone, role: str, sequences: Sequences) -> Tensor:
    """Of each whole completion, [B]."""
    return in_batches(partial(logprobs, backbone, role), sequences)[0].sum(1)
