"""The tasks of lm-eval on any artifact: candidates + task names -> a table of its metrics.

All candidates are measured from one load of their base, by lm-eval's own Hugging Face model around it, so a figure is
the one that `lm_eval --model hf` gives for the published folder. A task's data comes from where its file says, most
often the hub. Needs `pip install posttune[lm-eval]`.

Alone: a recipe with `lm-eval: {candidates: [base, sft], tasks: [arc_easy]}`, then `posttune run RECIPE lm-eval`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.contract import Context, Result, Source, Table
from pipeline.errors import DataError, RecipeError, StageFailed, first_line, nearest
from stages.harness.config import Config
from stages.modeling.backbone import open_backbone
from stages.modeling.chat import load_chat
from stages.modeling.roles import role_of_artifact

Measured = Mapping[str, tuple[float, float | None]]  # "task/metric" -> value and standard error


def run(config: Config, context: Context) -> Result:
    """Measure every candidate on every task."""
    if find_spec("lm_eval") is None:
        raise RecipeError("lm-eval is not installed", where="lm-eval", remedy="pip install 'posttune[lm-eval]'")
    manager = _find_tasks(config, context.data.get("task_files", ()))
    chat = load_chat(context.model)
    # Its batches are padded, which transformers' own attention knows and ours does not.
    backbone = open_backbone(context.model.model_copy(update={"attn_implementation": "sdpa"}))
    candidates = context.inputs["candidates"]
    for candidate in candidates:
        chat.check_same(candidate)
        backbone.load(role_of_artifact(candidate), candidate)
    found: dict[str, Measured] = {}
    with context.progress("lm-eval", len(candidates)) as advance:
        for candidate in candidates:
            with backbone.model(role_of_artifact(candidate)) as model, backbone.products():
                found[candidate.name] = _measure(model, chat.tokenizer, config, manager, context.seed)
            advance(1)
    return _result(config, found)


def _find_tasks(config: Config, sources: Sequence[Source]) -> Any:
    """lm-eval's index of tasks, its own and those of the folders."""
    from lm_eval.tasks import TaskManager

    folders = [Path(str(source.config.path)).expanduser() for source in sources]
    for source, folder in zip(sources, folders, strict=True):
        if not folder.is_dir():
            raise DataError(
                f"{folder} is no folder", where=f"data.{source.name}.path", remedy="name the folder of the YAML files"
            )
    manager = TaskManager(include_path=[str(folder) for folder in folders] or None)
    known = set(manager.all_tasks)
    for name in config.tasks:
        if name not in known:
            raise RecipeError(
                f"'{name}' is no task of lm-eval or of task_files", where="lm-eval.tasks", remedy=nearest(name, known)
            )
    return manager


def _measure(model: Any, tokenizer: Any, config: Config, manager: Any, seed: int) -> Measured:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    asked = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=config.batch_size)
    try:
        given = simple_evaluate(
            model=asked,
            tasks=list(config.tasks),
            num_fewshot=config.num_fewshot,
            limit=config.limit,
            apply_chat_template=config.apply_chat_template,
            task_manager=manager,
            log_samples=False,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            fewshot_random_seed=seed,
        )
    except (OSError, ValueError, KeyError) as error:  # of a task's file or its data: lm-eval raises them as they come
        raise StageFailed(
            f"lm-eval could not run {', '.join(config.tasks)}: {first_line(error)}",
            where="lm-eval.tasks",
            remedy="check the task's file and its data; a hub task needs the network",
        ) from error
    return _flat(given["results"])


def _flat(results: Mapping[str, Mapping[str, Any]]) -> Measured:
    """lm-eval's keys are "metric,filter" and "metric_stderr,filter"; the filter "none" is no filter."""
    found = {}
    for task, own in results.items():
        for key, value in own.items():
            metric, comma, way = key.partition(",")
            if comma and not metric.endswith("_stderr") and isinstance(value, (int, float)):
                error = own.get(f"{metric}_stderr,{way}")
                name = f"{task}/{metric}" + (f" ({way})" if way != "none" else "")
                found[name] = (float(value), float(error) if isinstance(error, (int, float)) else None)
    return found


def _result(config: Config, found: Mapping[str, Measured]) -> Result:
    names = list(found)
    figures = list(dict.fromkeys(figure for own in found.values() for figure in own))
    rows = [[figure, *(_cell(found[name].get(figure)) for name in names)] for figure in figures]
    shots = "as each task says" if config.num_fewshot is None else str(config.num_fewshot)
    note = f"By lm-eval, with its standard errors; few-shot examples: {shots}" + (
        f"; only the first {config.limit} documents a task: a trial, no figure to quote." if config.limit else "."
    )
    table = Table("lm-eval", ["task/metric", *names], rows, note)
    metrics = {f"{name}/{figure}": value for name, own in found.items() for figure, (value, _) in own.items()}
    lines = [
        f"{row[0]}: " + ", ".join(f"{name} {cell}" for name, cell in zip(names, row[1:], strict=True)) for row in rows
    ]
    return Result(metrics, [table], lines)


def _cell(measured: tuple[float, float | None] | None) -> str | None:
    if measured is None:
        return None
    value, error = measured
    return f"{value:.3f}" if error is None else f"{value:.3f} ± {error:.3f}"
