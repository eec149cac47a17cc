"""Direct preference optimisation: a policy learns from ranked answers without a reward model.

From a policy, a reference and comparisons to a policy (Rafailov et al. 2023). TRL's DPOTrainer does the
optimisation; a ranking of K answers becomes pairs, ties giving none. The reference is a named artifact
whose weights are put in place at every start, a resume included.

Alone: `posttune run recipes/quickstart.yaml dpo`
"""

from __future__ import annotations

from typing import Any

import torch

from pipeline.contract import Artifact, Context, Result, Table
from pipeline.errors import DataError
from stages.checkpoint import trainer as hf
from stages.dpo.config import Config, rate
from stages.evaluate.answers import ask, before_after, heldout_questions, mean_interval, measure, told, with_interval
from stages.formats.inputs import read_input
from stages.formats.load import Side
from stages.formats.records import Comparison
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.publish import publish_policy
from stages.objectives.preference import ranking_pairs
from stages.objectives.statistics import bootstrap_ci
from stages.rollout.score import in_batches, logprobs
from stages.rollout.sequences import Sequences

ROLE = "default"  # the adapter name that TRL copies as its reference
Pair = tuple[Comparison, int, int]  # the comparison, the winner's and the loser's position


def run(config: Config, context: Context) -> Result:
    """Train and publish a policy; the result compares it with its reference on held-out data."""
    chat = load_chat(context.model)
    train = _pairs(config, context, chat, "train")
    heldout = _pairs(config, context, chat, "heldout")
    backbone = open_backbone(context.model)
    trained = hf.trained_weights(context)
    backbone.load(ROLE, trained or context.artifact("policy"), trainable=True, seed=context.seed)
    backbone.load("reference", context.artifact("reference"))
    if trained is None:
        _train(config, context, chat, backbone, train)
    if not context.chief:
        return Result({})
    publish_policy(backbone, ROLE, chat, context.output, made_by="dpo")
    del backbone  # TRL has changed its forward; and what is judged is what was saved
    return _evaluate(config, context, chat, heldout)


def _pairs(config: Config, context: Context, chat: Chat, side: Side) -> list[Pair]:
    """Winner and loser of every ranking, the widest apart first where only some are asked for."""
    records = read_input(context, "data", "comparison", side)
    pairs: list[Pair] = []
    too_long = 0
    for record in records:
        own = [
            (record, w, loser, ranking.ranks[loser] - ranking.ranks[w])  # type: ignore[operator]
            for ranking in record.rankings
            for w, loser in ranking_pairs(ranking.ranks)
        ]
        own.sort(key=lambda pair: -pair[3])
        for _, winner, loser, _ in own[: config.pairs_per_prompt]:
            length = max(len(ids) for ids in _ids(chat, record, winner, loser))
            if length > config.max_length:
                too_long += 1
            else:
                pairs.append((record, winner, loser))
    if not pairs:
        raise DataError(
            f"{len(records)} {side} comparisons give no pair: all are tied, or longer than max_length "
            f"{config.max_length}",
            where="dpo.data",
            remedy="rank some completions apart, or raise max_length",
        )
    context.say(f"{side}: {len(pairs)} pairs from {len(records)} comparisons; left out, too long: {too_long}")
    return pairs


def _ids(chat: Chat, record: Comparison, *positions: int) -> list[list[int]]:
    prompt = chat.prompt_ids(record.prompt)
    return [prompt + chat.completion_ids(record.prompt, record.completions[i]) for i in positions]


def _train(config: Config, context: Context, chat: Chat, backbone: Backbone, pairs: list[Pair]) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    scratch = context.output.parent / "trainer.tmp"
    dataset = Dataset.from_list(
        [
            {
                "prompt": [dict(m) for m in record.prompt],
                "chosen": [_turn(record, winner)],
                "rejected": [_turn(record, loser)],
            }
            for record, winner, loser in pairs
        ]
    )
    losses = [config.loss_type, "sft"] if config.sft_weight else [config.loss_type]
    arguments = DPOConfig(
        **hf.arguments(config, context, scratch, backbone.device.type == "cpu"),
        learning_rate=rate(config, context.model),
        beta=config.beta,
        loss_type=losses,
        loss_weights=[1.0, config.sft_weight] if config.sft_weight else None,
    )
    with backbone.model(ROLE) as model:
        adapters = getattr(backbone, "peft", None)
        reference = None
        if adapters is None:
            with backbone.model("reference") as whole:
                reference = whole
        trained: Any = adapters or model
        trainer = DPOTrainer(
            model=trained, ref_model=reference, args=arguments, train_dataset=dataset, processing_class=chat.tokenizer
        )
        # TRL would also train what the template writes after the end-of-turn token; generation never sees that.
        trainer.train_dataset = Dataset.from_list([_tokens(chat, pair) for pair in pairs])
        if adapters is not None:
            _set_reference(adapters, backbone)
        hf.train(trainer, context, scratch, "training")
        trained.eval()


def _tokens(chat: Chat, pair: Pair) -> dict[str, list[int]]:
    """A row as TRL's collator reads it, in the ids of every other stage."""
    record, winner, loser = pair
    prompt = chat.prompt_ids(record.prompt)
    chosen, rejected = (chat.completion_ids(record.prompt, record.completions[i]) for i in (winner, loser))
    return {"prompt_ids": prompt, "chosen_ids": chosen, "rejected_ids": rejected}


def _turn(record: Comparison, position: int) -> dict[str, str]:
    return {"role": "assistant", "content": record.completions[position]}


def _set_reference(adapters: Any, backbone: Backbone) -> None:
    """TRL has made its `ref` adapter a copy of the policy; the recipe's reference may be another artifact."""
    ours = backbone.parameters("reference") if "reference" in adapters.peft_config else {}
    with torch.no_grad():
        for name, parameter in adapters.named_parameters():
            if ".ref." in name:
                source = ours.get(name.replace(".ref.", ".reference."))
                if source is not None:
                    parameter.copy_(source)
                elif "lora_B" in name:
                    parameter.zero_()  # the base itself is the reference


def _evaluate(config: Config, context: Context, chat: Chat, pairs: list[Pair]) -> Result:
    """Held-out pair accuracy of the implicit reward, the chosen answers' drift, and answers before and after."""
    backbone = open_backbone(context.model)
    backbone.load("reference", context.artifact("reference"))
    backbone.load("tuned", Artifact("tuned", "policy", context.output))
    reference = context.artifact("reference").name
    sequences = _both_sides(chat, pairs)
    own, other = (
        in_batches(lambda part, role=r: logprobs(backbone, role, part, chat.pad_id)[0], sequences)[0].sum(1)  # type: ignore[misc]
        for r in ("tuned", "reference")
    )
    chosen, rejected = (own - other)[: len(pairs)], (own - other)[len(pairs) :]
    accuracy = bootstrap_ci((chosen > rejected).float(), groups=[record.id for record, _, _ in pairs])
    drift = mean_interval(chosen.tolist())
    rows = [
        ["implicit-reward pair accuracy", None, with_interval(accuracy), None],
        ["log-probability gained by the preferred answer (nats)", None, with_interval(drift), None],
    ]
    metrics = {
        "heldout/accuracy": accuracy[0],
        "heldout/accuracy_low": accuracy[1],
        "heldout/accuracy_high": accuracy[2],
        "heldout/chosen_logprob_gain": drift[0],
        "heldout/margin": float((chosen - rejected).mean()) * config.beta,
    }
    questions = heldout_questions(context.data["data"], chat, config.eval_prompts, context.seed)
    if questions:
        old, new = (
            measure(questions, ask(backbone, role, chat, questions, context, max_new_tokens=config.max_new_tokens))
            for role in ("reference", "tuned")
        )
        rows += [before_after(name, reference, "dpo", old[name], new[name]) for name in new]
        metrics |= {f"heldout/{name}": mean_interval(values)[0] for name, values in new.items()}
    note = (
        f"{len(pairs)} held-out pairs, {len(questions)} prompts answered greedily; 95% bootstrap intervals over prompts"
    )
    table = Table("Held-out, before and after dpo", ["held-out figure", reference, "dpo", "difference"], rows, note)
    return Result(metrics, [table], told(rows))


def _both_sides(chat: Chat, pairs: list[Pair]) -> Sequences:
    """All winners, then all losers."""
    prompts, completions = [], []
    for side in (1, 2):
        for pair in pairs:
            record, position = pair[0], pair[side]
            prompts.append(chat.prompt_ids(record.prompt))
            completions.append(chat.completion_ids(record.prompt, record.completions[position]))  # type: ignore[call-overload]
    return Sequences(prompts, completions)
