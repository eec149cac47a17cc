"""A conversation in which every candidate answers each prompt, with a history of its own, from one base in memory.

Greedy unless asked; a sampled answer follows from the recipe's seed, the turn and the history alone, so that a
transcript can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from pipeline.contract import Artifact, ModelConfig
from stages.chat.terminal import Terminal
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import Chat, load_chat
from stages.modeling.quiet import quieten
from stages.rollout.generate import generate

HELP = "/reset starts anew, /quit or Ctrl-D ends, Ctrl-C stops an answer"


@dataclass
class Speaker:
    """A candidate and what has been said to it and by it."""

    name: str
    role: str
    messages: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Limits:
    """Of every answer alike."""

    max_new_tokens: int
    temperature: float
    seed: int


def chat(
    candidates: Sequence[Artifact],
    model: ModelConfig,
    *,
    system: str | None = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 17,
    given: TextIO,
    shown: TextIO,
) -> None:
    """Read prompts from `given`, a line each, and show the answers on `shown` until the input or its reader ends."""
    quieten()
    terminal = Terminal(given, shown, [candidate.name for candidate in candidates])
    voice = load_chat(model)
    backbone = open_backbone(model)
    for place, candidate in enumerate(candidates):
        voice.check_same(candidate)
        backbone.load(f"speaker_{place}", candidate)  # stage names may hold dots, adapter names may not
    speakers = [Speaker(candidate.name, f"speaker_{place}") for place, candidate in enumerate(candidates)]
    opening = [{"role": "system", "content": system}] if system else []
    voice.prompt_ids([*opening, {"role": "user", "content": "?"}])  # a template that takes no system turn says so now
    terminal.say(f"{' | '.join(speaker.name for speaker in speakers)} on {model.model_name_or_path}. {HELP}")
    _converse(terminal, backbone, voice, speakers, opening, Limits(max_new_tokens, temperature, seed))


def _converse(
    terminal: Terminal,
    backbone: Backbone,
    voice: Chat,
    speakers: Sequence[Speaker],
    opening: Sequence[dict[str, Any]],
    limits: Limits,
) -> None:
    turn = 0
    for prompt in terminal.prompts():
        if prompt == "/quit":
            return
        if prompt == "/reset":
            turn = 0
            for speaker in speakers:
                speaker.messages.clear()
            terminal.say("a new conversation")
        elif prompt.startswith("/"):
            terminal.say(f"no such command. {HELP}; a prompt that begins with / takes a space before it")
        else:
            try:
                if problem := _too_long(backbone, voice, speakers, opening, prompt, limits):
                    terminal.say(problem)
                    continue
                answers = [_answer(backbone, voice, speaker, opening, prompt, limits, turn) for speaker in speakers]
            except KeyboardInterrupt:
                terminal.say("stopped; the conversation is as it was before this prompt")
                continue
            turn += 1
            for speaker, answer in zip(speakers, answers, strict=True):
                speaker.messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer.text}]
            terminal.show([answer.told for answer in answers])


@dataclass(frozen=True)
class Answer:
    """What was said; `told` also says where it was cut."""

    text: str
    ended: bool

    @property
    def told(self) -> str:
        return self.text if self.ended else f"{self.text} [...]"


def _answer(
    backbone: Backbone,
    voice: Chat,
    speaker: Speaker,
    opening: Sequence[dict[str, Any]],
    prompt: str,
    limits: Limits,
    turn: int,
) -> Answer:
    (found,) = generate(
        backbone,
        speaker.role,
        voice,
        [_ids(voice, speaker, opening, prompt)],
        max_new_tokens=limits.max_new_tokens,
        temperature=limits.temperature,
        seed=limits.seed,
        purpose=f"chat {turn}",
    )
    return Answer(voice.decode(found.ids).strip(), found.ended)


def _ids(voice: Chat, speaker: Speaker, opening: Sequence[dict[str, Any]], prompt: str) -> list[int]:
    return voice.prompt_ids([*opening, *speaker.messages, {"role": "user", "content": prompt}])


def _too_long(
    backbone: Backbone,
    voice: Chat,
    speakers: Sequence[Speaker],
    opening: Sequence[dict[str, Any]],
    prompt: str,
    limits: Limits,
) -> str:
    """What to do where a conversation has outgrown what the model was made for; "" where it has not."""
    with backbone.model(speakers[0].role) as model:
        most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    count = max(len(_ids(voice, speaker, opening, prompt)) for speaker in speakers)
    if most is None or count + limits.max_new_tokens <= most:
        return ""
    return (
        f"{count} tokens and an answer of {limits.max_new_tokens} are more than the model's {most}: "
        "/reset, a shorter prompt, or a lower --max-new-tokens"
    )
