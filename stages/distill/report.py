"""What the teacher said, what became of it, and how much shorter the student's prompts are."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract import Context, Result, Samples, Table
from stages.distill.config import Config
from stages.distill.rows import Taught
from stages.evaluate.answers import mean_interval, read_as_text, with_interval


def report(config: Config, context: Context, taught: Sequence[Taught], saved: Sequence[int]) -> Result:
    """`saved` are the tokens by which each prompt is shorter without the system prompt."""
    teacher, count = context.artifact("policy").name, config.num_samples_per_prompt
    figures = {
        "ended": [sum(c.ended for c in item.drawn) / count for item in taught],
        "length": [sum(len(c.ids) for c in item.drawn) / count for item in taught],
        "tokens saved": [float(tokens) for tokens in saved],
    }
    if config.only_passing:
        figures["passing"] = [len(item.kept) / len(item.texts) for item in taught if item.texts]
    rows = [[name, with_interval(mean_interval(values))] for name, values in figures.items()]
    metrics = {f"distill/{name.replace(' ', '_')}": sum(values) / len(values) for name, values in figures.items()}
    left_out = _left_out(taught)
    num_rows = sum(len(item.kept) for item in taught)
    metrics |= {"distill/num_prompts": len(taught), "distill/num_rows": num_rows}
    metrics |= {f"distill/num_{why.replace(' ', '_')}": number for why, number in left_out.items()}
    how = "greedily" if config.temperature == 0 else f"{count} times at temperature {config.temperature:g}"
    note = (
        f"Means of {len(taught)} prompts answered {how} with the system prompt; 95% bootstrap intervals; length in "
        "tokens; tokens saved are those of a prompt with the system prompt less those of the prompt as its row has it"
    )
    told = ", ".join(f"{why} {number}" for why, number in left_out.items())
    summary = [f"{num_rows} rows from {len(taught)} prompts; answers left out: {told}"]
    shown = [{"prompt": read_as_text(item.prompt.prompt), "answers": [item.kept[0]]} for item in taught if item.kept][
        : config.num_shown
    ]
    fragments = [
        Table(f"{teacher} with the system prompt", ["figure", "value"], rows, note),
        Samples("Rows for the student", [f"{teacher}, told"], shown, f"The teacher was told: {config.system}"),
    ]
    return Result(metrics, fragments, [*summary, *(f"{name}: {value}" for name, value in rows)])


def _left_out(taught: Sequence[Taught]) -> dict[str, int]:
    """How many answers became no row, by the reason; every answer is a row or counted once here."""
    drawn = sum(len(item.drawn) for item in taught)
    ended = sum(c.ended for item in taught for c in item.drawn)
    different = sum(len(item.texts) for item in taught)
    kept = sum(len(item.kept) for item in taught)
    return {"cut off": drawn - ended, "empty or repeated": ended - different, "failing": different - kept}
