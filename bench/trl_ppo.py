"""One run of TRL 1.12's PPOTrainer, in the environment that ppo_against_trl.py makes; it reads its job from a file.

The last TRL with PPO has a policy under LoRA with the adapter switched off as the reference, a reward model, and a
value model of which it trains every weight, all three with a random head here. Its `gradient_checkpointing` and `bf16`
settings reach nothing in this trainer (it has a training loop and an Accelerator of its own), so nothing is set.

Phases: rollout is its `batch_generation`; score is from there to the first forward with gradients; update is the rest.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from hardware import device, finish, peak_mb

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main() -> int:
    """Train and print one line of JSON: the phases' seconds of every step, the first one included."""
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    import torch

    torch.set_num_threads(job["threads"])
    phases = Phases()
    trainer = _trainer(job, phases)
    phases.listen()
    trainer.train()
    result = {"steps": phases.steps, "new_tokens": phases.new_tokens, "peak_mb": peak_mb()}
    print("RESULT " + json.dumps(result), flush=True)
    return 0


class Phases:
    """Seconds of each phase, step by step, by wrapping the trainer module's own functions."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.new_tokens: list[int] = []
        self._start = self._written = self._scored = 0.0

    def listen(self) -> None:
        """From the first rollout on."""
        import torch
        from trl.experimental.ppo import ppo_trainer

        module: Any = ppo_trainer
        generate, forward = module.batch_generation, module.forward

        def batch_generation(model: Any, queries: Any, *rest: Any, **named: Any) -> Any:
            found = generate(model, queries, *rest, **named)
            self._written, self._scored = _now(), 0.0
            self.new_tokens.append(int(found[0][:, queries.shape[1] :].numel()))
            return found

        def timed_forward(*given: Any, **named: Any) -> Any:
            if torch.is_grad_enabled() and not self._scored:
                self._scored = _now()
            return forward(*given, **named)

        module.batch_generation, module.forward = batch_generation, timed_forward
        self._start = _now()

    def step_ends(self) -> None:
        end = _now()
        self.steps.append(
            {
                "rollout": self._written - self._start,
                "score": self._scored - self._written,
                "update": end - self._scored,
            }
        )
        self._start = end


def _now() -> float:
    finish()
    return time.perf_counter()


def _trainer(job: dict[str, Any], phases: Phases) -> Any:
    import torch
    from datasets import Dataset
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        TrainerCallback,
        set_seed,
    )
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    class Listener(TrainerCallback):
        def on_step_end(self, *given: Any, **named: Any) -> None:
            phases.step_ends()

    set_seed(0)
    path, dtype = job["model"], getattr(torch, job["dtype"])
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    tokenizer.pad_token_id = job["pad_id"]  # not the end of a turn, which it would mask in the prompts
    policy = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    scorers: list[Any] = [
        AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, dtype=dtype) for _ in range(2)
    ]
    reward, value = scorers
    lora: dict[str, Any] = {"r": 16, "lora_alpha": 32, "target_modules": MODULES}
    if job["value"] == "lora":
        inject_adapter_in_model(LoraConfig(**lora), value)
        value.score.weight.requires_grad_(True)
    data = Dataset.from_dict({"input_ids": job["prompts"]})
    batch = len(job["prompts"])
    args = PPOConfig(
        output_dir=job["folder"], per_device_train_batch_size=job["micro_batch"],
        gradient_accumulation_steps=batch // job["micro_batch"], total_episodes=batch * job["num_steps"],
        num_ppo_epochs=job["epochs"], response_length=job["new"], temperature=1.0, learning_rate=job["learning_rate"],
        num_sample_generations=0, report_to="none", save_strategy="no", seed=0, use_cpu=device() == "cpu",
        disable_tqdm=True, logging_steps=1,
    )  # fmt: skip
    return PPOTrainer(
        args=args, processing_class=tokenizer, model=policy, ref_model=None, reward_model=reward, value_model=value,
        train_dataset=data, eval_dataset=data, peft_config=LoraConfig(**lora, task_type="CAUSAL_LM"),
        callbacks=[Listener()],
    )  # fmt: skip


if __name__ == "__main__":
    raise SystemExit(main())
