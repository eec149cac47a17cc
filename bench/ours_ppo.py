"""One run of this project's PPO without the engine; it reads its job, as trl_ppo.py does, from a file.

What the benches know of the inside of stages/ppo is in here. Left out are the value warm-up, which TRL has not, and the
evaluation. Rollout lasts until the last answer is written; score is the rest of `collect`; update is the epochs.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from hardware import finish, peak_mb

PHASES = ("rollout", "score", "update")


def main() -> int:
    """Train and print one line of JSON."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        found = _steps(job, Path(folder))
    found["peak_mb"] = peak_mb()
    print("RESULT " + json.dumps(found), flush=True)
    return 0


def _steps(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Seconds of each phase of every step, the first one included, and the tokens written."""
    import torch
    from rollouts import endless

    from pipeline.contract import Context, LoraConfig, ModelConfig
    from stages import ppo
    from stages.modeling.chat import load_chat
    from stages.ppo.config import rates
    from stages.ppo.experience import collect
    from stages.ppo.train import _load
    from stages.ppo.update import Updater

    torch.set_num_threads(job["threads"])
    torch.manual_seed(0)
    model = ModelConfig(model_name_or_path=job["model"], lora=LoraConfig(r=16, alpha=32))
    config = ppo.Config(
        policy="base", data="x", rollout_batch_size=len(job["prompts"]), max_new_tokens=job["new"],
        num_ppo_epochs=job["epochs"], learning_rate=job["learning_rate"],
        **({"value_model": "linear"} if job["value"] == "linear" else {"value_warmup_epochs": 0}),
    )  # fmt: skip
    chat = endless(load_chat(model))
    reward = _publish_reward(model, chat, folder / "reward")
    context = Context.local(folder / "out", model=model, policy="base", reference="base", reward=reward)
    models = _load(config, context, chat, [])
    if job["value"] == "full":
        models = replace(models, backbone=_full_value(models.backbone))
    updater = Updater(models, config, rates(config, model))
    steps, new_tokens = [], []
    for number in range(job["num_steps"]):
        marks = [time.perf_counter()]
        written: list[float] = []
        experience = collect(
            models, job["prompts"], config, config.kl_coef, 0, number,
            on_batch=lambda done, written=written: written.append(time.perf_counter()),  # type: ignore[misc]
        )  # fmt: skip
        marks += [written[-1], time.perf_counter()]
        for _ in range(config.num_ppo_epochs):
            updater.step(experience, experience.micro_batches)
        finish()
        marks.append(time.perf_counter())
        steps.append({phase: marks[i + 1] - marks[i] for i, phase in enumerate(PHASES)})
        new_tokens.append(sum(map(len, experience.completions)))
    return {"steps": steps, "new_tokens": new_tokens}


def _publish_reward(model: Any, chat: Any, folder: Path) -> Path:
    """A reward model with a fresh adapter and a random head: speed does not ask what it likes."""
    from pipeline.contract import Artifact
    from stages.checkpoint.streams import stream
    from stages.modeling.backbone import open_backbone
    from stages.modeling.heads import ScalarHead
    from stages.modeling.publish import publish_reward

    backbone = open_backbone(model)
    backbone.load("reward", Artifact("base", "policy"), trainable=True)
    folder.mkdir(parents=True)
    publish_reward(
        backbone, "reward", ScalarHead(backbone.hidden_size).initialise(stream(0, "bench")), chat, folder, {}
    )
    return folder


def _full_value(shared: Any) -> Any:
    """The shared backbone, but for the role `value`, which becomes a whole model of its own with every weight trained.

    No recipe can ask for that mixture.
    """
    from pipeline.contract import Artifact
    from stages.modeling.backbone import SeparateBackbones
    from stages.ppo.experience import VALUE

    whole = SeparateBackbones(shared.config.model_copy(update={"lora": None, "dtype": shared.dtype_name}))
    whole.load(VALUE, Artifact("base", "policy"), trainable=True)

    class Mixed:
        def __getattr__(self, name: str) -> Any:
            found = getattr(shared, name)
            if not callable(found):
                return found
            return lambda *given, **named: getattr(whole if VALUE in given[:1] else shared, name)(*given, **named)

    return Mixed()


if __name__ == "__main__":
    raise SystemExit(main())
