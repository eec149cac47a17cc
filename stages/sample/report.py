"""What was sampled, and how far apart the answers to one prompt are."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.contract import Context, Result, Samples, Table
from stages.evaluate.answers import mean_interval, read_as_text, with_interval
from stages.sample.comparisons import Answered, ranks
from stages.sample.config import Config


def report(config: Config, context: Context, answered: Sequence[Answered], usable: Sequence[Answered]) -> Result:
    """`answered` are all prompts, `usable` those with two or more answers to compare."""
    policy, count = context.artifact("policy").name, config.num_samples_per_prompt
    figures = {
        "ended": [sum(c.ended for c in item.drawn) / count for item in answered],
        "length": [sum(len(c.ids) for c in item.drawn) / count for item in answered],
        "different answers": [float(len(item.texts)) for item in answered],
        **_of_scores(config, usable),
    }
    rows = [[name, with_interval(mean_interval(values))] for name, values in figures.items()]
    metrics = {f"sample/{name.replace(' ', '_')}": sum(values) / len(values) for name, values in figures.items()}
    metrics |= {"sample/num_prompts": len(answered), "sample/num_comparisons": len(usable)}
    note = (
        f"Means of {len(answered)} prompts answered {count} times at temperature {config.temperature:g}, with 95% "
        "bootstrap intervals; length in tokens. The proxy score ranks the answers: it is no proof of quality"
    )
    summary = [
        f"{len(usable)} comparisons from {len(answered)} prompts; left out, fewer than two different finished "
        f"answers: {len(answered) - len(usable)}"
    ]
    if not usable[0].scores:
        summary.append("not ranked: no reward model was named")
    fragments = [Table(f"Sampled from {policy}", ["figure", "value"], rows, note), *_shown(config, usable)]
    return Result(metrics, fragments, [*summary, *(f"{name}: {value}" for name, value in rows)])


def _of_scores(config: Config, usable: Sequence[Answered]) -> dict[str, list[float]]:
    if not usable[0].scores:
        return {}
    means = [sum(item.scores) / len(item.scores) for item in usable]
    return {
        "proxy score": means,
        "proxy best over mean": [max(item.scores) - mean for item, mean in zip(usable, means, strict=True)],
        "with an order": [float(max(ranks(item.scores, config.tie_margin)) > 1) for item in usable],
    }


def _shown(config: Config, usable: Sequence[Answered]) -> list[Samples]:
    """The answers with the highest and the lowest score to the first prompts."""
    rows = []
    for item in usable[: config.num_shown]:
        if item.scores:
            ends = [max(item.scores), min(item.scores)]
            texts = [item.texts[item.scores.index(score)] for score in ends]
            rows.append({"prompt": read_as_text(item.prompt.prompt), "answers": texts, "scores": ends})
    note = "Scores are the proxy's."
    return [Samples("Sampled answers", ["highest score", "lowest score"], rows, note)] if rows else []
