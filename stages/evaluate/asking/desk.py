"""Each candidate asked in its own way, from one load of the base: plainly, with material in the prompt, or at a server.

What an answer was asked with does not change how it is judged: reward models read it behind the question's own prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.contract import Context
from pipeline.errors import ModelError, UserError
from stages.evaluate.answers import Answers, Question, ask_prompts
from stages.evaluate.asking.candidates import Candidate
from stages.evaluate.asking.kept import Kept
from stages.evaluate.asking.prompting import Material
from stages.evaluate.config import Config
from stages.evaluate.measuring.reward_models import RewardModel
from stages.formats.records import Message
from stages.modeling.backbone import Backbone
from stages.modeling.chat import Chat
from stages.modeling.roles import role_of_artifact
from stages.rollout.generate import Completion
from stages.rollout.sequences import Sequences

OWN_TEMPERATURE = "refuses to be greedy, and was asked at its own temperature"
Prompts = list[list[int]]  # ids, for each question


@dataclass(frozen=True)
class Desk:
    """What it takes to ask: the models, the questions, and what may be put into prompts."""

    config: Config
    context: Context
    backbone: Backbone
    chat: Chat
    questions: Sequence[Question]
    material: Material


def paid(context: Context) -> Path | None:
    """Where a server's replies outlive an evaluation that was stopped."""
    return context.paid / "replies.jsonl" if context.paid else None


def role_of(candidate: Candidate) -> str:
    """The backbone's name for the policy that answers, one for all ways of asking it."""
    assert candidate.policy is not None, "a server's model is not on the backbone"
    return role_of_artifact(candidate.policy)


def load_policies(backbone: Backbone, candidates: Sequence[Candidate]) -> None:
    """Each policy once, however many ways it is asked in."""
    policies = {role_of(c): c.policy for c in candidates if c.policy is not None}
    for role, policy in policies.items():
        backbone.load(role, policy)


def ask_all(
    desk: Desk, candidates: Sequence[Candidate], prompts: Mapping[str, Prompts], proxy: RewardModel | None
) -> tuple[dict[str, Answers], list[str]]:
    """Each candidate's answers by its name; and which servers are left out, and why, which costs the others nothing."""
    kept = Kept(desk.context, desk.backbone)
    left_out: list[str] = []
    for candidate in candidates:
        if candidate.name in kept:
            continue
        if candidate.policy is not None:
            kept.add(candidate.name, _ask_policy(desk, candidate, prompts[candidate.name], proxy))
            continue
        try:
            kept.add(candidate.name, _ask_server(desk, candidate, proxy))
        except UserError as error:
            left_out.append(f"{candidate.name} is left out: {error.where}: {error.problem}")
            desk.context.say(f"{candidate.name} is left out of the evaluation: {error}")
    return kept.of([candidate.name for candidate in candidates]), left_out


def write_prompts(desk: Desk, candidates: Sequence[Candidate]) -> dict[str, Prompts]:
    """What every policy reads, by its candidate's name; a server makes its own of the conversations."""
    return {candidate.name: _prompts_of(desk, candidate) for candidate in candidates if candidate.policy is not None}


def _prompts_of(desk: Desk, candidate: Candidate) -> Prompts:
    """ModelError where the model was made for shorter ones."""
    if candidate.is_plain:
        prompts = [question.ids for question in desk.questions]
    else:
        prompts = [desk.chat.prompt_ids(talk) for talk in _conversations(desk, candidate)]
    longest, room = max(map(len, prompts)), _context_length(desk, candidate)
    if room is not None and longest + desk.config.max_new_tokens > room:
        question = desk.questions[[len(prompt) for prompt in prompts].index(longest)]
        raise ModelError(
            f"'{candidate.name}' is asked '{question.id}' with {longest} tokens; with max_new_tokens "
            f"{desk.config.max_new_tokens} that is more than the model's context of {room}",
            where=f"evaluate.{'data' if candidate.is_plain else 'baselines'}",
            remedy="lower max_new_tokens, or leave the longest prompts out"
            if candidate.is_plain
            else "lower its num_examples or num_passages, shorten its system text, or lower max_new_tokens",
        )
    return prompts


def _conversations(desk: Desk, candidate: Candidate) -> list[list[Message]]:
    return [desk.material.messages(question, candidate.way) for question in desk.questions]


def _context_length(desk: Desk, candidate: Candidate) -> int | None:
    with desk.backbone.model(role_of(candidate)) as model:
        room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(room) if room else None


def _ask_policy(desk: Desk, candidate: Candidate, prompts: Prompts, proxy: RewardModel | None) -> Answers:
    number, config = candidate.way.best_of, desk.config
    drawn = ask_prompts(
        desk.backbone,
        role_of(candidate),
        desk.chat,
        [prompt for prompt in prompts for _ in range(number)],
        desk.context,
        label=candidate.name,
        max_new_tokens=config.max_new_tokens,
        temperature=1.0 if number > 1 else config.temperature,
        batch_size=config.batch_size,
        purpose=f"best of {number}" if number > 1 else "answers",
    )
    return _best(desk, drawn, number, proxy)


def _ask_server(desk: Desk, candidate: Candidate, proxy: RewardModel | None) -> Answers:
    """The same from a server. Lengths are in our tokens, so that they compare; what the call took is in its own."""
    from stages.evaluate.asking.endpoint import complete

    number, context = candidate.way.best_of, desk.context
    assert candidate.way.endpoint is not None, "who has no policy has an endpoint"
    talks = _conversations(desk, candidate)
    with context.progress(f"{candidate.name} answers", number * len(talks)) as advance:
        rounds = [
            complete(
                candidate.way.endpoint,
                talks,
                max_new_tokens=desk.config.max_new_tokens,
                temperature=1.0 if number > 1 else desk.config.temperature,
                seed=context.seed + drawn,  # a server gives one seed one answer
                cache=paid(context),
                advance=advance,
                should_stop=context.should_stop,
            )
            for drawn in range(number)
        ]
    replies = [replies[i] for i in range(len(talks)) for replies in rounds]
    asked = [question for question in desk.questions for _ in range(number)]
    return _best(
        desk,
        Answers(
            [_as_completion(desk.chat, q, r.text, r.ended) for q, r in zip(asked, replies, strict=True)],
            [reply.text for reply in replies],
            [reply.num_prompt_tokens for reply in replies],
            [reply.num_new_tokens for reply in replies],
            OWN_TEMPERATURE if any(reply.own_temperature for reply in replies) else "",
        ),
        number,
        proxy,
    )


def _as_completion(chat: Chat, question: Question, text: str, ended: bool) -> Completion:
    ids = chat.completion_ids(question.messages, text)
    return Completion(ids if ended else ids[:-1], ended)


def _best(desk: Desk, drawn: Answers, number: int, proxy: RewardModel | None) -> Answers:
    """Of `number` answers drawn to each question, side by side, the one that scores highest; the first of equals."""
    if number == 1:
        return drawn
    assert proxy is not None, "candidates() refuses best_of without a reward model"
    prompts = [question.ids for question in desk.questions for _ in range(number)]
    scores = proxy.scores(desk.backbone, Sequences(prompts, [c.ids for c in drawn.completions]))
    groups = [range(start, start + number) for start in range(0, len(prompts), number)]
    best = [max(group, key=lambda place: (scores[place], -place)) for group in groups]
    return Answers(
        [drawn.completions[place] for place in best],
        [drawn.texts[place] for place in best],
        [drawn.num_prompt_tokens[place] for place in best],
        [_sum([drawn.num_new_tokens[place] for place in group]) for group in groups],
        drawn.remark,
    )


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None
