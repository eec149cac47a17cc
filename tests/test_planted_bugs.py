"""Bugs that PPO implementations have had, planted one at a time in a copy of the source: a test must fail on each.

Each is one exact replacement, and names the test that catches it. Learning curves would not do: a toy language model
closes 99.5 % of its gap while values leak from padding, and 99.6 % while whitening counts pads.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Bug:
    name: str
    file: str  # under stages/
    right: str  # occurs there once
    wrong: str
    caught_by: str  # under tests/stages/


ADVANTAGES = "objectives/test_advantages.py::"
POLICY = "objectives/test_policy.py::"
LOOP = "ppo/test_ppo_train.py::"
TOY = "ppo/test_known_optimum.py::"
SAME_ANSWERS = TOY + "test_two_iterations_are_those_of_an_independent_ppo_on_the_same_answers"

BUGS = [
    Bug("the end token is cut off the answer", "ppo/experience.py",
        "[c.ids for c in completions]", "[c.ids[:-1] or c.ids if c.ended else c.ids for c in completions]",
        LOOP + "test_ended_answer_pays_no_penalty_and_keeps_its_end_token"),
    Bug("the end token learns nothing", "ppo/experience.py",
        "        advantages_BR=advantages,\n",
        "        advantages_BR=advantages * (torch.arange(mask.shape[1]) < (mask.sum(1) - ended_B)[:, None]),\n",
        SAME_ANSWERS),
    Bug("the score lands one token early", "objectives/advantages.py",
        "amax(-1)\n", "amax(-1).sub(1).clamp(min=0)\n", ADVANTAGES + "test_rewards_match_golden"),
    Bug("the KL penalty is a bonus", "objectives/advantages.py",
        "(-kl_coef * kl_BT)", "(kl_coef * kl_BT)", ADVANTAGES + "test_rewards_match_golden"),
    Bug("k2 in the reward", "ppo/experience.py",
        "import kl_k1\n", "import kl_k2 as kl_k1\n", SAME_ANSWERS),
    Bug("k3 in the reward", "ppo/experience.py",
        "import kl_k1\n", "import kl_k3 as kl_k1\n", SAME_ANSWERS),
    Bug("KL is paid past the end", "objectives/advantages.py",
        "(-kl_coef * kl_BT).masked_fill(~kept_BT, 0)", "(-kl_coef * kl_BT)",
        ADVANTAGES + "test_rewards_match_golden"),
    Bug("GAE runs past the end", "objectives/advantages.py",
        "torch.where(kept_B, delta_B + gamma * lam * advantage_B, advantage_B)",
        "delta_B + gamma * lam * advantage_B", ADVANTAGES + "test_gae_matches_golden"),
    Bug("values leak from padding", "objectives/advantages.py",
        "torch.where(kept_B, value_B, next_value_B)", "value_B", ADVANTAGES + "test_gae_matches_golden"),
    Bug("whitening counts pads", "objectives/masked.py",
        "centred = values - masked_mean(values, kept)", "centred = values - values.mean()",
        "objectives/test_masked.py::test_standardize_matches_golden"),
    Bug("the loop whitens over pads", "ppo/experience.py",
        "standardize(advantages_BR, mask_BR)", "standardize(advantages_BR, torch.ones_like(mask_BR)) * mask_BR",
        SAME_ANSWERS),
    Bug("advantages are left as they are", "ppo/experience.py",
        "standardize(advantages_BR, mask_BR)", "advantages_BR",
        LOOP + "test_first_ratio_is_one_when_nothing_has_been_trained"),
    Bug("sampled sharper than scored", "ppo/experience.py",
        "temperature=config.temperature,\n        seed=seed",
        "temperature=0.7 * config.temperature,\n        seed=seed",
        TOY + "test_answers_are_drawn_from_the_distribution_that_is_scored"),
    Bug("the reference is scored at another temperature", "ppo/experience.py",
        "REFERENCE, part, config.temperature)", "REFERENCE, part)", SAME_ANSWERS),
    Bug("the update forgets the temperature", "ppo/update.py",
        "POLICY, part, self.config.temperature)", "POLICY, part)",
        LOOP + "test_first_ratio_is_one_when_nothing_has_been_trained"),
    Bug("one denominator a micro-batch", "ppo/update.py",
        "token_mean_over(loss, mask, totals.num_tokens).backward()",
        "token_mean_over(loss, mask, int(mask.sum())).backward()",
        LOOP + "test_gradient_is_the_same_however_a_minibatch_is_cut"),
    Bug("the ratio is upside down", "objectives/policy.py",
        "return (logprobs - old_logprobs)", "return (old_logprobs - logprobs)",
        POLICY + "test_policy_loss_takes_the_golden_ratios_when_nothing_is_clipped"),
    Bug("the ratio is not clipped", "objectives/policy.py",
        "-advantages * ratio.clamp(1 - clip_range, 1 + clip_range))", "-advantages * ratio)",
        POLICY + "test_policy_loss_matches_golden"),
    Bug("the value model starts without the score's scale", "ppo/train.py",
        "    return ScalarHead.load(rewards[0].path, backbone.hidden_size).to(backbone.device)\n",
        "    head = ScalarHead.load(rewards[0].path, backbone.hidden_size).to(backbone.device)\n"
        "    head.std.fill_(1), head.mean.fill_(0)\n"
        "    return head\n",
        SAME_ANSWERS),
    Bug("switching adapters takes the policy's gradient", "modeling/backbone.py",
        "layer._active_adapter = layer._active_adapter if adapter is None else [adapter]",
        "layer.set_adapter(layer._active_adapter if adapter is None else [adapter])",
        "modeling/test_backbone.py::test_policy_and_value_both_get_gradients_when_one_is_forwarded_between"),
]  # fmt: skip

# A process that loads torch and transformers once, and forks for every copy to be tested.
FORKS = """
import os, sys
import peft, pytest, torch, transformers
from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast
for line in sys.stdin:
    copy, *tests = line.split()
    child = os.fork()
    if child == 0:
        out = os.open(os.path.join(copy, "log"), os.O_WRONLY | os.O_CREAT)
        os.dup2(out, 1), os.dup2(out, 2)
        quiet = ["-x", "-q", "-p", "no:cacheprovider", f"--basetemp={copy}/tmp"]
        os._exit(pytest.main([*tests, *quiet, "-o", f"pythonpath={copy}"]))
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Forks:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def test(self, copy: Path, *tests: str) -> int:
        """pytest's exit code with this copy of the source: 0 all passed, 1 one failed, more: it could not test."""
        assert self.process.stdin and self.process.stdout
        print(copy, *[f"tests/stages/{test}" for test in tests], file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    # hypothesis's plugin alone costs 4 seconds a session
    own = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = {**os.environ, **own}
    command = [sys.executable, "-c", FORKS]
    with subprocess.Popen(command, cwd=ROOT, env=environment, text=True, stdin=-1, stdout=-1) as process:
        yield Forks(process)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("stages", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bug_is_caught(bug: Bug, copy: Path, forks: Forks) -> None:
    file = copy / "stages" / bug.file
    text = file.read_text("utf-8")
    assert text.count(bug.right) == 1, "the source has moved on: plant the bug anew"
    file.write_text(text.replace(bug.right, bug.wrong), "utf-8")
    assert forks.test(copy, bug.caught_by) == 1, (copy / "log").read_text("utf-8")[-2000:]


def test_unchanged_copy_passes_the_same_tests(copy: Path, forks: Forks) -> None:
    assert forks.test(copy, *sorted({bug.caught_by for bug in BUGS})) == 0, (copy / "log").read_text("utf-8")[-2000:]
