"""Whether an export answers as the artifact does: greedy, token by token, on the same prompts.

The artifact answers through our own decode loop, the export through plain transformers, both computed in float32: in
bfloat16 an artifact's answers change with the rows that share its batch (SmolLM2-135M, 16 prompts: 7 equal answers
at batches of 1 and of 16), so that no two programs can agree in it. What is left is the export's own
doing. Where answers part, its preference there tells rounded weights (the two tokens were all but tied) from a wrong
export (it was sure of its own).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.contract import Artifact, ModelConfig
from pipeline.errors import StageFailed
from stages.export.weights import Written, generation_config, load_plainly
from stages.formats.records import Prompt
from stages.modeling.chat import Chat, load_chat

# Nats by which an export whose weights were rounded so may prefer another token: generous bounds, not measured ones.
ROUNDING = {"float32": 0.01, "float16": 0.2, "bfloat16": 1.0}


@dataclass(frozen=True)
class Agreement:
    """How many of the answers were equal, and by how much the export preferred its own token where they parted."""

    num_equal: int
    gaps: Sequence[float]  # nats, one a prompt whose answers differ
    dtype: str  # of the export's weights

    @property
    def num_prompts(self) -> int:
        return self.num_equal + len(self.gaps)

    @property
    def tolerance(self) -> float:
        """What rounding alone may do."""
        return ROUNDING[self.dtype]

    def told(self) -> list[str]:
        """The outcome for a person."""
        if not self.num_prompts:
            return ["check: no held-out prompts to compare answers on, so none were"]
        lines = [
            f"check: {self.num_equal} of {self.num_prompts} greedy answers are the artifact's, token by token "
            f"({self.dtype} weights, both computed in float32)"
        ]
        if self.gaps:
            lines.append(
                f"  where they part the export preferred its token by {max(self.gaps):.2g} nats at most; "
                f"rounding explains up to {self.tolerance:g}"
            )
        return lines

    def check(self) -> None:
        """StageFailed where rounding does not explain what differs."""
        if self.gaps and max(self.gaps) > self.tolerance:
            raise StageFailed(
                f"the export answers otherwise than the artifact: {self.num_equal} of {self.num_prompts} are equal, "
                f"and where they part it preferred its own token by {max(self.gaps):.2g} nats",
                where="export",
                remedy="nothing was written; if the base model changed since the stage ran, run the stage again",
            )


def compare(
    artifact: Artifact, model: ModelConfig, written: Written, prompts: Sequence[Prompt], max_new_tokens: int
) -> Agreement:
    """The answers of both; loads one after the other, so that two models never share the memory."""
    if not prompts:
        return Agreement(0, (), written.dtype)
    chat = load_chat(model)
    ids = [chat.prompt_ids(prompt.prompt) for prompt in prompts]
    if written.kind != "gguf":  # which holds its own form of the tokenizer
        _check_tokenizer(written, prompts, ids)
    ours = _of_artifact(artifact, model, chat, ids, max_new_tokens)
    # A merged model's settings go with it. An adapter is read with its base's, which may penalise what was said before
    # or know another end of a turn: that is the base's doing, and here weights are held against weights.
    settings = None if written.kind == "merged" else generation_config(chat)
    return _held_against(written, ids, ours, max_new_tokens, settings)


def _of_artifact(
    artifact: Artifact, model: ModelConfig, chat: Chat, ids: Sequence[list[int]], max_new_tokens: int
) -> list[list[int]]:
    from stages.modeling.backbone import open_backbone
    from stages.rollout.generate import generate

    backbone = open_backbone(model.model_copy(update={"dtype": "float32"}))
    backbone.load("policy", artifact)
    limits: dict[str, Any] = {"max_new_tokens": max_new_tokens, "temperature": 0.0}
    answers = generate(backbone, "policy", chat, ids, **limits, seed=0, purpose="export")
    return [answer.ids for answer in answers]


def _held_against(
    written: Written, ids: Sequence[list[int]], ours: Sequence[list[int]], max_new_tokens: int, settings: Any
) -> Agreement:
    import torch

    model = load_plainly(written, torch.float32).to("cuda" if torch.cuda.is_available() else "cpu")
    if settings is not None:
        model.generation_config = settings
    equal, gaps = 0, []
    for prompt, answer in zip(ids, ours, strict=True):
        theirs = _answer(model, prompt, max_new_tokens)
        if theirs == answer:
            equal += 1
        else:
            gaps.append(_gap(model, prompt, answer, theirs))
    return Agreement(equal, gaps, written.dtype)


def _check_tokenizer(written: Written, prompts: Sequence[Prompt], ids: Sequence[list[int]]) -> None:
    """The exported tokenizer and its template make the same ids of each prompt."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(written.folder))
    for prompt, known in zip(prompts, ids, strict=True):
        messages = [dict(message) for message in prompt.prompt]
        if tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False) != known:
            raise StageFailed(
                f"the exported tokenizer reads the prompt {prompt.id} otherwise than the artifact's",
                where="export",
                remedy="nothing was written; this is a bug, please report it with the model's name",
            )


def _answer(model: Any, prompt: list[int], max_new_tokens: int) -> list[int]:
    import torch

    ids = torch.tensor([prompt], device=model.device)
    with torch.no_grad():
        whole = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_new_tokens
        )
    return [int(token) for token in whole[0, len(prompt) :]]


def _gap(model: Any, prompt: list[int], ours: list[int], theirs: list[int]) -> float:
    """Where two answers part: by how much the export finds its own token likelier than ours, nats."""
    import torch

    parted = [i for i, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]]
    if not parted:  # one goes on where the other ends: it stops at other tokens
        return math.inf
    place = parted[0]
    ids = torch.tensor([prompt + theirs[:place]], device=model.device)
    with torch.no_grad():
        logprobs = model(input_ids=ids).logits[0, -1].float().log_softmax(-1)
    return float(logprobs[theirs[place]] - logprobs[ours[place]])
