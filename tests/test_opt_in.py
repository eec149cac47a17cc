"""What no offline test can show: a real hub, a real W&B server. Each is asked for by its variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.contract import ModelConfig
from pipeline.tracking import Tracker


@pytest.mark.hub
@pytest.mark.skipif(not os.environ.get("POSTTUNE_TEST_HUB"), reason="set POSTTUNE_TEST_HUB=1 to use the hub")
def test_chat_loads_from_the_hub_when_the_model_is_a_hub_id() -> None:
    from stages.modeling.chat import load_chat

    chat = load_chat(ModelConfig(model_name_or_path="HuggingFaceTB/SmolLM2-135M-Instruct"))
    assert chat.decode(chat.completion_ids([{"role": "user", "content": "Hi"}], "Hello")) == "Hello"


@pytest.mark.wandb_server
@pytest.mark.skipif(not os.environ.get("POSTTUNE_TEST_WANDB"), reason="set POSTTUNE_TEST_WANDB=1, with a key at hand")
def test_server_holds_each_step_once_when_a_run_was_resumed(tmp_path: Path) -> None:
    import wandb

    settings = {"project": "posttune-test", "entity": None, "mode": "online", "group": "opt-in", "job_type": "toy",
                "name": "opt-in", "config": {"seed": 17}}  # fmt: skip
    for steps in (range(1, 4), range(3, 6)):  # the second attempt goes on from step 2
        tracker = Tracker(tmp_path, settings, print)
        tracker.rewind(steps[0] - 1)
        for step in steps:
            tracker.log(step, {"loss": 1 / step})
        tracker.finish()
    run = wandb.Api().run(f"posttune-test/{tracker.state['wandb_run_id']}")
    assert [row["_step"] for row in run.scan_history(keys=["_step", "loss"])] == [1, 2, 3, 4, 5]
