"""PPO: a policy learns to write answers that a reward model scores high, without leaving its reference.

From an SFT policy, a reward model and prompts to a policy: Schulman et al. 2017 as Ziegler et al. 2019 and
Ouyang et al. 2022 use it for language, with the details of Huang et al. 2024. The score lands on the
last token, each token pays kl_coef * log(policy/reference), advantages are GAE's, standardised over the
batch. As the kinds `rloo` (Ahmadian et al. 2024) and `grpo` (Shao et al. 2024) there is no value model: an
answer's reward is held against those of the other answers to its prompt.

Where we differ from TRL's late PPOTrainer: one denominator an optimizer step, the score on the
end-of-turn token itself, gradients clipped, masks from lengths, minibatches that are optimizer steps.

Alone: `posttune run recipes/quickstart.yaml ppo`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as changed
from functools import partial

from pipeline.contract import Artifact, Context, Result, Table
from pipeline.errors import DataError, Interrupted, ModelError
from stages.checkpoint import store
from stages.checkpoint.streams import permutation
from stages.evaluate.answers import Question
from stages.formats.inputs import read_input, read_sources
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, Encoded, load_chat
from stages.modeling.heads import ScalarHead
from stages.modeling.publish import publish_policy
from stages.objectives.value import explained_variance
from stages.ppo import alarms
from stages.ppo.config import Config, Loop, rates
from stages.ppo.critic import LinearCritic
from stages.ppo.evaluation import evaluate, reward_against_kl
from stages.ppo.experience import (
    CHECK,
    POLICY,
    REFERENCE,
    REWARD,
    VALUE,
    Experience,
    Models,
    choose_prompts,
    collect,
    rescale_values,
    revalued,
)
from stages.ppo.gate import check_rewards
from stages.ppo.position import Position
from stages.ppo.rewards import Rewards, load_functions
from stages.ppo.update import Updater


def run(config: Loop, context: Context) -> Result:
    """Train and publish a policy; the result compares it with its reference on held-out prompts."""
    doubts = check_rewards(config, context)
    chat = load_chat(context.model)
    questions = _questions(config, context, chat)
    remembered = _remembered(config, context, chat)
    models = _load(config, context, chat, questions)
    updater = Updater(models, config, rates(config, context.model))
    position = Position.resume(config, context, updater)
    own = context if config.seed is None else changed(context, seed=config.seed)
    _train(config, own, updater, position, [question.ids for question in questions], remembered)
    publish_policy(models.backbone, POLICY, chat, context.output, made_by=config.algorithm)
    result = evaluate(config, context, models)
    result = changed(result, fragments=[*result.fragments, *reward_against_kl(position.history)])
    if found := [("reward", doubt) for doubt in doubts] + list(position.alarms.items()):
        told = Table("Alarms of this run", ["alarm", "diagnosis"], [list(alarm) for alarm in found])
        result = changed(result, fragments=[told, *result.fragments])
    return result


def _questions(config: Loop, context: Context, chat: Chat) -> list[Question]:
    """Training prompts with what is known of each; those over max_prompt_length are left out, and counted aloud."""
    questions = [
        Question(record.id, record.prompt, chat.prompt_ids(record.prompt), record.reference, source.task)
        for source, records in read_sources(context, "data", "prompt", "train")
        for record in records
    ]
    kept = [question for question in questions if len(question.ids) <= config.max_prompt_length]
    if not kept:
        raise DataError(
            f"none of {len(questions)} prompts fits into max_prompt_length {config.max_prompt_length}",
            where=f"{config.algorithm}.data",
            remedy="raise max_prompt_length",
        )
    left_out = len(questions) - len(kept)
    context.say(f"{len(kept)} prompts; left out, longer than {config.max_prompt_length} tokens: {left_out}")
    return kept


def _remembered(config: Loop, context: Context, chat: Chat) -> list[Encoded]:
    """Whole conversations whose loss is added to each step's, where the recipe asks for it."""
    if not context.data.get("ptx_data"):
        return []
    rows = [chat.encode(r.messages, r.tools) for r in read_input(context, "ptx_data", "instruction", "train")]
    longest = config.max_prompt_length + config.max_new_tokens
    kept = [row for row in rows if len(row.input_ids) <= longest]
    if not kept:
        raise DataError(
            f"none of {len(rows)} conversations fits into the {longest} tokens of prompt and answer",
            where=f"{config.algorithm}.ptx_data",
            remedy="raise max_prompt_length or max_new_tokens",
        )
    context.say(f"ptx: {len(kept)} conversations; left out, longer than {longest} tokens: {len(rows) - len(kept)}")
    return kept


def _load(config: Loop, context: Context, chat: Chat, questions: list[Question]) -> Models:
    """One backbone and its roles, and what pays for answers."""
    if context.model.lora and context.model.lora.dropout:
        raise ModelError(
            "PPO needs lora.dropout 0: with dropout the old and new policies differ before any step",
            where="model.lora.dropout",
            remedy="set it to 0.0",
        )
    functions = load_functions(config, questions)
    backbone: Backbone = open_backbone(context.model)
    backbone.load(POLICY, context.artifact("policy"), trainable=True, seed=context.seed)
    backbone.load(REFERENCE, context.artifact("reference"))
    heads = {
        f"{REWARD}_{place}" if place else REWARD: artifact
        for place, artifact in enumerate(context.inputs.get("reward", ()))
    }
    judges = {role: _judge(backbone, chat, role, artifact) for role, artifact in heads.items()}
    # Of two rows with one prompt, the one with a reference is the one that functions are told of.
    known = {tuple(q.ids): q for q in sorted(questions, key=lambda question: question.reference is not None)}
    rewards = Rewards(chat, judges, functions, known, config)
    models = Models(backbone, chat, rewards)
    for check in context.inputs.get("check_reward", ()):
        models = changed(models, check_head=_judge(backbone, chat, CHECK, check))
    if not isinstance(config, Config):
        return models
    if config.value_model == "linear":
        return changed(models, critic=LinearCritic(backbone.hidden_size))
    return changed(models, value_head=_value_model(backbone, context.inputs.get("reward", ())))


def _judge(backbone: Backbone, chat: Chat, role: str, artifact: Artifact) -> ScalarHead:
    """Bring in a reward model, and give its head."""
    assert artifact.path is not None, "a reward model is always a published artifact"
    chat.check_same(artifact)
    backbone.load(role, artifact)
    return ScalarHead.load(artifact.path, backbone.hidden_size).to(backbone.device).requires_grad_(False)


def _value_model(backbone: Backbone, rewards: Sequence[Artifact]) -> ScalarHead:
    """A trunk that starts as the first reward model, head and scale included; else as the policy, with values of 0."""
    backbone.copy(VALUE, REWARD if rewards else POLICY, trainable=True)
    if not rewards:
        return ScalarHead(backbone.hidden_size).to(backbone.device)
    assert rewards[0].path is not None, "a reward model is always a published artifact"
    return ScalarHead.load(rewards[0].path, backbone.hidden_size).to(backbone.device)


def _train(
    config: Loop,
    context: Context,
    updater: Updater,
    position: Position,
    prompts: list[list[int]],
    remembered: Sequence[Encoded],
) -> None:
    saver = store.Saver(context.checkpoints, config)
    with context.progress("episodes", config.num_iterations * config.rollout_batch_size) as advance:
        advance(position.iteration * config.rollout_batch_size)
        while position.iteration < config.num_iterations:
            updater.set_progress(position.iteration / config.num_iterations)
            if position.experience is None:
                chosen = choose_prompts(prompts, config, context.seed, position.iteration)
                position.experience = collect(
                    updater.models,
                    chosen,
                    config,
                    position.kl.coef,
                    context.seed,
                    position.iteration,
                    on_batch=lambda done: _stop_if_told(context, saver, updater, position),
                )
                position.metrics = {}
                if position.iteration == 0 and isinstance(config, Config) and updater.value:
                    position.experience = _warm_up(config, context, updater, position)
            _learn(config, context, saver, updater, position, remembered)
            found = _figures(config, updater, position)
            _log(config, context, position, found)
            position.kl = position.kl.update(found["objective/kl"], config.rollout_batch_size)
            position.iteration, position.epoch, position.minibatch = position.iteration + 1, 0, 0
            position.experience = None
            advance(config.rollout_batch_size)
            if saver.is_due(position.iteration) or position.iteration == config.num_iterations:
                saver.save(position.iteration, partial(position.write, updater))


def _warm_up(config: Config, context: Context, updater: Updater, position: Position) -> Experience:
    """Fit the value model's scale to the first batch, let it alone learn from it, and give it its new values."""
    experience = position.experience
    assert experience is not None, "collect comes first"
    if not config.value_warmup_epochs:
        return experience
    rescale_values(updater.models, experience, config)
    experience = revalued(updater.models, experience, config)
    with context.progress("value warm-up", config.value_warmup_epochs) as advance:
        for epoch in range(config.value_warmup_epochs):
            for part in _minibatches(config, experience, context.seed, changed(position, epoch=-1 - epoch)):
                if context.should_stop():  # a checkpoint would hold half a warm-up: it starts over
                    raise Interrupted("stopped", remedy="run the same command again to go on")
                updater.value_step(config, experience, part)
            advance(1)
    return revalued(updater.models, experience, config)


def _learn(
    config: Loop,
    context: Context,
    saver: store.Saver,
    updater: Updater,
    position: Position,
    remembered: Sequence[Encoded],
) -> None:
    """The remaining epochs and minibatches of the rollout in use; between two of them it can stop, or save."""
    experience = position.experience
    assert experience is not None and position.metrics is not None, "collect comes first"
    while position.epoch < config.num_ppo_epochs:
        _stop_if_told(context, saver, updater, position)
        if saver.is_overdue:
            saver.save(position.iteration, partial(position.write, updater))
        minibatches = _minibatches(config, experience, context.seed, position)
        rows = _some(remembered, config, context.seed, position)
        found = updater.step(experience, minibatches[position.minibatch], rows)
        first = position.epoch == position.minibatch == 0
        if not first:  # before the first step a ratio is 1 but for rounding: logged apart, as a check
            found.pop("policy/ratio_deviation")
        for name, value in found.items():
            position.metrics.setdefault(name, []).append(value)
        position.minibatch += 1
        if position.minibatch == len(minibatches):
            position.epoch, position.minibatch = position.epoch + 1, 0
        if config.target_kl is not None and found["policy/approxkl_avg"] > config.target_kl:
            position.epoch = config.num_ppo_epochs


def _some(remembered: Sequence[Encoded], config: Loop, seed: int, position: Position) -> list[Encoded]:
    """The rows remembered in one step: as many as a forward may hold, drawn anew each time."""
    at = position.iteration, position.epoch, position.minibatch
    order = permutation(len(remembered), seed, "ppo", "ptx", *at)
    return [remembered[i] for i in order[: config.per_device_train_batch_size]]


def _stop_if_told(context: Context, saver: store.Saver, updater: Updater, position: Position) -> None:
    if context.should_stop():
        saver.save(position.iteration, partial(position.write, updater))
        raise Interrupted("stopped; a checkpoint is written", remedy="run the same command again to go on")


def _minibatches(config: Loop, experience: Experience, seed: int, position: Position) -> list[list[list[int]]]:
    """The epoch's minibatches: whole micro-batches, shuffled anew each epoch and dealt out evenly."""
    parts = experience.micro_batches
    order = permutation(len(parts), seed, "ppo", "minibatches", position.iteration, position.epoch)
    count = config.num_mini_batches
    return [[parts[i] for i in order[start::count]] for start in range(count)]


def _figures(config: Loop, updater: Updater, position: Position) -> dict[str, float]:
    """What the iteration that has just ended looks like."""
    experience = position.experience
    assert experience is not None and position.metrics is not None, "figures come after learning"
    figures = experience.describe(position.kl.coef)
    figures |= {name: sum(values) / len(values) for name, values in position.metrics.items()}
    if isinstance(config, Config):
        mask = experience.sequences.mask_BR
        figures["value/explained_variance"] = float(
            explained_variance(experience.values_BR, experience.returns_BR, mask)
        )
    return {
        **figures,
        "policy/num_skipped_steps": updater.num_skipped,
        "kl_coef": position.kl.coef,
        **({} if config.kl_target is None else {"kl_target": config.kl_target}),
        "lr": updater.optimizer.param_groups[0]["lr"],
        "episode": (position.iteration + 1) * config.rollout_batch_size,
    }


def _log(config: Loop, context: Context, position: Position, figures: dict[str, float]) -> None:
    """Record them, and say aloud what they give cause to fear."""
    number = position.iteration + 1
    if number % config.logging_steps == 0 or number == config.num_iterations:
        context.log_metrics(number, figures)
    position.history.append(figures)
    for name, text in alarms.raised(position.history, list(position.alarms)).items():
        context.say(f"alarm at iteration {number}: {text}")
        position.alarms[name] = f"iteration {number}: {text}"
