"""Prompt distillation, its first half: a teacher answers under a long system prompt, and the rows leave the prompt out.

From a policy and prompts to instructions, which a later sft reads by `data: {x: {from: distill}}`; what that sft
learns is to answer as if it had been told (context distillation: Askell et al. 2021; Snell et al. 2022,
"Learning by distilling context"). Askell et al. have the student match the probabilities of the teacher's likeliest
tokens; here it learns from the answers as text, as in Snell et al., so that a row can be read, checked and left out. An
answer that was cut off is left out: as text it would look finished.

Alone: `posttune run recipes/distill-prompt.yaml distill`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.contract import Context, Result, TaskConfig
from pipeline.errors import DataError
from stages.distill.config import Config
from stages.distill.report import report
from stages.distill.rows import Taught, told, write
from stages.evaluate.checks.task import check_answer
from stages.formats.load import load
from stages.formats.records import Prompt
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import load_chat
from stages.sample.draw import Sampling, draw, read_prompts, texts_of

TEACHER = "teacher"


def run(config: Config, context: Context) -> Result:
    """Let the teacher answer, choose among its answers, and publish the rows."""
    chat = load_chat(context.model)
    prompts = read_prompts(context, config.max_prompts, "distill")
    asked = [told(prompt, config.system) for prompt in prompts]
    backbone = open_backbone(context.model)
    backbone.load(TEACHER, context.artifact("policy"))
    how = Sampling(config.num_samples_per_prompt, config.temperature, config.max_new_tokens, config.batch_size)
    (drawn,) = draw(context, backbone, chat, asked, policies=[TEACHER], sampling=how, saving=config)
    texts = [texts_of(chat, own) for own in drawn]
    kept = _passing(context, prompts, texts) if config.only_passing else texts
    taught = [Taught(*item) for item in zip(prompts, drawn, texts, kept, strict=True)]
    _check_some_left(config, taught)
    write(context, taught)
    saved = [
        len(chat.prompt_ids(a.prompt)) - len(chat.prompt_ids(p.prompt)) for a, p in zip(asked, prompts, strict=True)
    ]
    return report(config, context, taught, saved)


def _passing(context: Context, prompts: Sequence[Prompt], texts: Sequence[list[str]]) -> list[list[str]]:
    """Those of each prompt's answers that pass every check of the tasks of the sources that hold the prompt."""
    tasks = _tasks(context)

    def passes(text: str, prompt: Prompt) -> bool:
        found = [check_answer(text, prompt.reference, task, prompt.documents) for task in tasks[prompt.prompt_key]]
        return all(value == 1 for results in found for value in results.values())

    return [[text for text in own if passes(text, prompt)] for prompt, own in zip(prompts, texts, strict=True)]


def _tasks(context: Context) -> Mapping[str, list[TaskConfig]]:
    """By prompt. DataError where no source has a task, so that nothing would be checked."""
    if not any(source.task != TaskConfig() for source in context.data["data"]):
        raise DataError(
            "only_passing is set, and no source of its data names a task to check",
            where="distill.data",
            remedy="name one under `task` of the source, or leave only_passing out",
        )
    tasks: dict[str, list[TaskConfig]] = {}
    for source in context.data["data"]:
        for record in load(source, "prompt", "all").records:
            tasks.setdefault(record.prompt_key, []).append(source.task)
    return tasks


def _check_some_left(config: Config, taught: Sequence[Taught]) -> None:
    if any(item.kept for item in taught):
        return
    ended = any(item.texts for item in taught)
    raise DataError(
        f"none of {len(taught)} prompts got an answer that "
        + ("passes the checks of its task" if ended else "ended and is not empty"),
        where="distill",
        remedy="shorten `system` or show examples in it, or let a stronger policy teach"
        if ended
        else f"raise max_new_tokens (now {config.max_new_tokens}), or ask in `system` for short answers",
    )
