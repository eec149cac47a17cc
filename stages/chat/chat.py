"""A conversation in which every candidate answers each prompt, with a history of its own, from one base in memory.

Greedy unless asked; a sampled answer follows from the recipe's seed, the turn and the history alone, so that a
transcript can be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from pipeline.contract import Artifact, ModelConfig, Source
from stages.chat.terminal import Terminal
from stages.formats.opening import common_system
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


@dataclass(frozen=True)
class Answer:
    """What was said; `told` also says where it was cut."""

    text: str
    ended: bool

    @property
    def told(self) -> str:
        return self.text if self.ended else f"{self.text} [...]"


@dataclass(frozen=True)
class Conversation:
    """All speakers, each with its own history of the same prompts."""

    backbone: Backbone
    voice: Chat
    speakers: Sequence[Speaker]
    opening: Sequence[dict[str, Any]]  # a system turn, or nothing
    limits: Limits

    def answers(self, prompt: str) -> list[Answer]:
        """Each speaker's; none is remembered before all have spoken."""
        found = [self._answer(speaker, prompt) for speaker in self.speakers]
        for speaker, answer in zip(self.speakers, found, strict=True):
            speaker.messages += [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer.text}]
        return found

    def _answer(self, speaker: Speaker, prompt: str) -> Answer:
        (found,) = generate(
            self.backbone,
            speaker.role,
            self.voice,
            [self._ids(speaker, prompt)],
            max_new_tokens=self.limits.max_new_tokens,
            temperature=self.limits.temperature,
            seed=self.limits.seed,
            purpose=f"chat {len(speaker.messages) // 2}",
        )
        return Answer(self.voice.decode(found.ids).strip(), found.ended)

    def _ids(self, speaker: Speaker, prompt: str) -> list[int]:
        return self.voice.prompt_ids([*self.opening, *speaker.messages, {"role": "user", "content": prompt}])

    def too_long(self, prompt: str) -> str:
        """What to do where the conversation has outgrown what the model was made for; "" where it has not."""
        with self.backbone.model(self.speakers[0].role) as model:
            most = getattr(model.config.get_text_config(), "max_position_embeddings", None)
        count, room = max(len(self._ids(speaker, prompt)) for speaker in self.speakers), self.limits.max_new_tokens
        if most is None or count + room <= most:
            return ""
        return (
            f"{count} tokens and an answer of {room} are more than the model's {most}: "
            "/reset, a shorter prompt, or a lower --max-new-tokens"
        )

    def reset(self) -> None:
        for speaker in self.speakers:
            speaker.messages.clear()


def chat(
    candidates: Sequence[Artifact],
    model: ModelConfig,
    *,
    sources: Sequence[Source] = (),
    system: str | None = None,
    max_new_tokens: int = 256,
    temperature: float = 0.0,
    seed: int = 17,
    given: TextIO,
    shown: TextIO,
) -> None:
    """Read prompts from `given`, a line each, and show the answers on `shown` until the input or its reader ends.

    system: said first; None: what all rows of `sources` begin with, if they begin alike; "": nothing.
    """
    quieten()
    terminal = Terminal(given, shown, [candidate.name for candidate in candidates])
    voice = load_chat(model)
    backbone = open_backbone(model)
    for place, candidate in enumerate(candidates):
        voice.check_same(candidate)
        backbone.load(f"speaker_{place}", candidate)  # stage names may hold dots, adapter names may not
    speakers = [Speaker(candidate.name, f"speaker_{place}") for place, candidate in enumerate(candidates)]
    learnt = common_system(sources) if system is None else None
    system = system or learnt
    opening = [{"role": "system", "content": system}] if system else []
    voice.prompt_ids([*opening, {"role": "user", "content": "?"}])  # a template that takes no system turn says so now
    terminal.say(f"{' | '.join(speaker.name for speaker in speakers)} on {model.model_name_or_path}. {HELP}")
    if learnt:
        terminal.say(f"system prompt, as in the rows that were learnt from: {learnt} (--system TEXT for another)")
    limits = Limits(max_new_tokens, temperature, seed)
    _converse(terminal, Conversation(backbone, voice, speakers, opening, limits))


def _converse(terminal: Terminal, conversation: Conversation) -> None:
    for prompt in terminal.prompts():
        if prompt == "/quit":
            return
        if prompt == "/reset":
            conversation.reset()
            terminal.say("a new conversation")
        elif prompt.startswith("/"):
            terminal.say(f"no such command. {HELP}; a prompt that begins with / takes a space before it")
        else:
            _take_turn(terminal, conversation, prompt)


def _take_turn(terminal: Terminal, conversation: Conversation, prompt: str) -> None:
    try:
        if problem := conversation.too_long(prompt):
            terminal.say(problem)
            return
        answers = conversation.answers(prompt)
    except KeyboardInterrupt:
        if not terminal.asks:  # nobody is there to ask something else: it stops the command
            raise
        terminal.say("stopped; the conversation is as it was before this prompt")
        return
    terminal.show([answer.told for answer in answers])
