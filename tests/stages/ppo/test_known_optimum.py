"""ppo, rloo and grpo, from prompts to published weights, on the model whose best policy is known (toy_model.py).

J = E[reward - 0.3 KL] is -0.781 at the start and 0.316 at best; a run's share is the part of this gap that it closes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_model as toy
from slow_ppo import SlowPPO
from tiny_run import BASE, full_model, lora_model, write_rows

from pipeline.contract import Context, DataSource, LoraConfig, ModelConfig, Source
from stages import ppo
from stages.modeling.backbone import Backbone, open_backbone
from stages.modeling.chat import load_chat
from stages.modeling.heads import ScalarHead
from stages.modeling.publish import publish_reward
from stages.ppo import train
from stages.ppo.experience import POLICY, REFERENCE, VALUE, Models, collect
from stages.ppo.rewards import Rewards

BETA, ITERATIONS, EPISODES = 0.3, 60, 128
SETTINGS = {"data": "rows", "policy": "base", "num_ppo_epochs": 4, "max_new_tokens": toy.LENGTH, "kl_coef": BETA,
            "learning_rate": 3e-3, "eval_prompts": 0}  # fmt: skip
CRITIC = {"value_learning_rate": 3e-3, "value_warmup_epochs": 0}


def sized(iterations: int, episodes: int, **changes: Any) -> dict[str, Any]:
    """So many iterations of so many answers, half to each prompt, in one forward."""
    shape = {"total_episodes": iterations * episodes, "rollout_batch_size": episodes,
             "num_samples_per_prompt": episodes // 2, "per_device_train_batch_size": episodes}  # fmt: skip
    return {**SETTINGS, **shape, **changes}


@dataclass(frozen=True)
class Toy:
    """The model folder, one of a reward model that gives the critic its start, and a file of the two prompts."""

    base: Path
    reward: Path
    prompts: Path
    model: ModelConfig

    def run(self, config: ppo.Config | ppo.RlooConfig | ppo.GrpoConfig, output: Path, seed: int = 17) -> Path:
        """The stage as it is; gives its output folder."""
        given = {"policy": "base", "reference": "base", "reward": self.reward, "data": self.prompts}
        context = Context.local(output, model=self.model, seed=seed, **given)
        rows = Source("rows", DataSource(path=str(self.prompts), split="all"))
        ppo.run(config, replace(context, data={"data": [rows]}, say=lambda text: None))
        return output

    def share(self, output: Path, beta: float = BETA) -> float:
        """Of the gap from the base to the best policy, by the published weights as transformers reads them."""
        adapter = output if self.model.lora else None
        return self.share_of(toy.open_plain(self.base if adapter else output, adapter), beta)

    def share_of(self, policy: Any, beta: float = BETA) -> float:
        base = toy.open_plain(self.base)
        start, best = toy.objective(base, beta, base), toy.objective(base, beta)
        return (toy.objective(base, beta, policy) - start) / (best - start)


@pytest.fixture(autouse=True)
def reward_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one place where a program's score takes the reward model's."""

    def parts(self: Rewards, backbone: Backbone, sequences: Any) -> dict[str, torch.Tensor]:
        return {"reward": torch.tensor([float(toy.points(answer)) for answer in sequences.completions])}

    monkeypatch.setattr(Rewards, "parts", parts)


@pytest.fixture(scope="module", params=["full"])  # also: lora; rows, for attention and decoding row by row, as shipped
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toy:
    root = tmp_path_factory.mktemp("toy")
    base = toy.publish(root / "model")
    model = full_model(base)
    if request.param == "lora":
        model = lora_model(base).model_copy(update={"lora": LoraConfig(r=8, alpha=16)})
    if request.param != "rows":  # here one kernel call is three times faster
        model = model.model_copy(update={"attn_implementation": "sdpa"})
    backbone = open_backbone(model)
    backbone.load("reward", BASE, trainable=True)
    head = ScalarHead(backbone.hidden_size).initialise(torch.Generator().manual_seed(4))
    head.mean.fill_(0.3)
    head.std.fill_(2.0)
    (root / "reward").mkdir()
    publish_reward(backbone, "reward", head, load_chat(model), root / "reward", {})
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in toy.PROMPTS]
    return Toy(base, root / "reward", write_rows(root / "rows.jsonl", rows), model)


def test_objective_is_what_whole_answers_give(world: Toy) -> None:
    """Against all 400 answers to each prompt, taken whole: E[reward], and beta log E[exp(reward / beta)] at best."""
    base, going_on = toy.open_plain(world.base), [list(x) for t in range(4) for x in product(toy.GOING_ON, repeat=t)]
    answers = [x if len(x) == toy.LENGTH else [*x, toy.END] for x in going_on]
    rewards = torch.tensor([toy.points(x) - (x[-1] != toy.END) for x in answers], dtype=torch.float64)
    start = best = 0.0
    for prompt in toy.PROMPTS.values():
        logp = torch.stack([logprob(base, prompt, answer) for answer in answers])
        assert float(logp.exp().sum()) == pytest.approx(1)
        start += float((logp.exp() * rewards).sum()) / 2
        best += BETA * float((logp + rewards / BETA).logsumexp(0)) / 2
    assert toy.objective(base, BETA, base) == pytest.approx(start, abs=1e-9)
    assert toy.objective(base, BETA) == pytest.approx(best, abs=1e-9)


@torch.no_grad()
def logprob(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    table = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return table[range(len(prompt) - 1, len(prompt) - 1 + len(answer)), answer].sum()  # type: ignore[no-any-return]


@pytest.mark.parametrize("world", ["rows"], indirect=True)
def test_ppo_closes_as_much_of_the_gap_as_an_independent_one(world: Toy, tmp_path: Path) -> None:
    """Measured: 98.8 % against 98.7 %; over seeds and ways to sample the one spreads from 97.8 to 99.1, the other from
    98.3 to 98.9: so many episodes leave that much to chance, and the seeds are fixed.
    """
    config = ppo.Config(**sized(ITERATIONS, EPISODES), **CRITIC)
    slow = SlowPPO(world.base, world.reward, config, toy.points, toy.END)
    generator = torch.Generator().manual_seed(1)
    prompts = [prompt for prompt in toy.PROMPTS.values() for _ in range(EPISODES // 2)]
    for iteration in range(ITERATIONS):
        slow.learn(prompts, slow.sample(prompts, generator), iteration / ITERATIONS)
    expected = world.share_of(slow.policy)
    assert expected > 0.98
    assert world.share(world.run(config, tmp_path / "out")) > expected - 0.004


def test_rloo_closes_the_gap(world: Toy, tmp_path: Path) -> None:
    """Measured: 98.5 to 98.9 %."""
    config = ppo.RlooConfig(**sized(ITERATIONS, EPISODES))
    assert world.share(world.run(config, tmp_path / "out")) > 0.98


def test_grpo_closes_most_of_the_gap(world: Toy, tmp_path: Path) -> None:
    """Measured: 92 to 93 %. Its optimum is another policy, for scores are divided by their deviation.

    At a KL coefficient of 0.3 each step towards the best answer shrinks the deviation until the penalty is drowned.
    """
    config = ppo.GrpoConfig(**sized(ITERATIONS, EPISODES, kl_coef=0.5))
    assert world.share(world.run(config, tmp_path / "out"), beta=0.5) > 0.9


@pytest.mark.parametrize("world", ["lora"], indirect=True)
def test_ppo_closes_most_of_the_gap_through_adapters(world: Toy, tmp_path: Path) -> None:
    """Embeddings and head stay as they are, which keeps the last part of the gap out of reach. Measured: 92.6 %."""
    config = ppo.Config(**sized(ITERATIONS, EPISODES, learning_rate=1e-2), **CRITIC)
    assert world.share(world.run(config, tmp_path / "out")) > 0.9


@pytest.mark.parametrize("world", ["lora"], indirect=True)
def test_kl_is_exactly_zero_when_the_adapter_is_fresh(world: Toy) -> None:
    backbone = open_backbone(world.model)
    backbone.load(POLICY, BASE, trainable=True, seed=3)
    backbone.load(REFERENCE, BASE)
    found = collect(toy_models(world, backbone), list(toy.PROMPTS.values()), ppo.Config(**sized(1, 2)), BETA, 17, 0)
    assert not found.kl_BR.any() and found.entropy_BR.any()


def toy_models(world: Toy, backbone: Backbone) -> Models:
    """What a rollout needs where there is no value model; the reward head is not asked."""
    chat = load_chat(world.model)
    heads = {"reward": ScalarHead(backbone.hidden_size)}
    return Models(backbone, chat, Rewards(chat, heads, [], {}, ppo.Config(**sized(1, 2))))


@pytest.mark.parametrize("world", ["full", "rows"], indirect=True)
def test_two_iterations_are_those_of_an_independent_ppo_on_the_same_answers(
    world: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weight for weight: unequal lengths, several forwards, a temperature, clips that bite, a critic with a scale."""
    seen: list[tuple[Models, Any]] = []

    def spy(models: Models, *given: Any, **named: Any) -> Any:
        found = collect(models, *given, **named)
        seen.append((models, found))
        return found

    monkeypatch.setattr(train, "collect", spy)
    changes = {"temperature": 0.7, "per_device_train_batch_size": 5, "num_ppo_epochs": 3, "learning_rate": 1e-2}
    config = ppo.Config(**sized(2, 20, **changes), **CRITIC)
    world.run(config, tmp_path / "out")
    slow = SlowPPO(world.base, world.reward, config, toy.points, toy.END)
    for iteration, (_, found) in enumerate(seen):
        slow.learn(found.prompts, found.completions, iteration / 2)
    models = seen[0][0]
    assert models.value_head is not None
    backbone = models.backbone
    for ours, theirs in (
        (backbone.parameters(POLICY), dict(slow.policy.named_parameters())),
        (backbone.parameters(VALUE), dict(slow.critic.named_parameters())),
        ({"head": models.value_head.weight}, {"head": slow.head}),
    ):
        for name, weight in ours.items():
            torch.testing.assert_close(weight.detach().cpu().double(), theirs[name], atol=1e-4, rtol=0)


@pytest.mark.parametrize("world", ["full", "rows"], indirect=True)
def test_answers_are_drawn_from_the_distribution_that_is_scored(world: Toy) -> None:
    """First tokens against their probabilities at the temperature: chi-square, 7 degrees of freedom, p = 1e-4 at 30."""
    backbone = open_backbone(world.model)
    for role in (POLICY, REFERENCE):
        backbone.load(role, BASE)
    config = ppo.RlooConfig(**sized(1, 1600, temperature=0.6))
    prompts = [prompt for prompt in toy.PROMPTS.values() for _ in range(800)]
    completions = collect(toy_models(world, backbone), prompts, config, 0.0, 17, 0).completions
    for half, prompt in enumerate(toy.PROMPTS.values()):
        expected = 800 * toy.tables(toy.open_plain(world.base), prompt, 0.6)[0][0].exp()
        first = torch.tensor([answer[0] for answer in completions[half * 800 : (half + 1) * 800]])
        found = first.bincount(minlength=toy.VOCAB)
        assert float(((found - expected) ** 2 / expected).sum()) < 30
