"""TRL's trainers as an independent oracle: the same tiny models and rows through its loss and through ours."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from stages.objectives.dpo import LOSSES, extra_inputs
from stages.objectives.logprobs import scored_logprobs, scored_logprobs_and_entropy, selective_logprobs
from stages.objectives.policy import entropy
from stages.objectives.preference import bradley_terry, centering

pytest.importorskip("trl")

SHAPE = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
}
ROWS = {
    "prompt": ["w2 w3 w4", "w5 w6"],
    "chosen": [" w7 w8", " w9 w10 w11 w12"],
    "rejected": [" w13 w14 w15", " w16"],
}


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<eos>": 1, **{f"w{i}": i for i in range(2, 32)}}
    inner = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>")


def tiny(kind, seed, **options):
    """A Llama whose logits are far from uniform, so that the losses differ from their starting values."""
    import transformers

    torch.manual_seed(seed)
    model = getattr(transformers, kind)(transformers.LlamaConfig(**SHAPE, initializer_range=0.5, **options))
    return model.eval()


def settings(folder):
    return {"output_dir": str(folder), "report_to": "none", "use_cpu": True, "bf16": False,
            "gradient_checkpointing": False, "per_device_train_batch_size": 2, "disable_tqdm": True}  # fmt: skip


@pytest.fixture(scope="module")
def dpo(tmp_path_factory):
    """TRL's trainer, one of its batches, and the summed log-probabilities and lengths that we read off that batch."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    policy, ref = tiny("LlamaForCausalLM", 0), tiny("LlamaForCausalLM", 1)
    batch_logps = []
    trainer = DPOTrainer(
        model=policy, ref_model=ref, processing_class=tokenizer(), train_dataset=Dataset.from_dict(ROWS),
        args=DPOConfig(**settings(tmp_path_factory.mktemp("dpo")), beta=0.3, label_smoothing=0.1),
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    for seed in (0, 1):  # fresh copies: the trainer replaces the forward of those it was given
        model = tiny("LlamaForCausalLM", seed)
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        logprobs = selective_logprobs(logits, batch["input_ids"][:, 1:])
        batch_logps.extend((logprobs * batch["completion_mask"][:, 1:]).sum(-1).chunk(2))
    lengths_w, lengths_l = batch["completion_mask"].sum(-1).chunk(2)
    return trainer, batch, batch_logps, {"lengths_w": lengths_w, "lengths_l": lengths_l, "label_smoothing": 0.1}


@pytest.mark.parametrize(
    "name",
    ["sigmoid", "sigmoid_norm", "robust", "hinge", "ipo", "apo_zero", "apo_down", "sppo_hard", "nca_pair", "bco_pair"],
)
def test_dpo_loss_equals_trls(dpo, name):
    trainer, batch, logps, extras = dpo
    trainer.loss_types, trainer.loss_weights = [name], [1.0]
    trainer.model.eval()
    with torch.no_grad():
        theirs = trainer.compute_loss(trainer.model, dict(batch))
    ours = LOSSES[name](*logps, 0.3, **{key: extras[key] for key in extra_inputs(name)})
    assert_close(ours.mean(), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("margin", [False, True])
def test_reward_loss_equals_trls(tmp_path, margin):
    from datasets import Dataset
    from trl import RewardConfig, RewardTrainer

    rows = {**ROWS, "margin": [0.5, 0.2]} if margin else ROWS
    trainer = RewardTrainer(
        model=tiny("LlamaForSequenceClassification", 0, num_labels=1), processing_class=tokenizer(),
        train_dataset=Dataset.from_dict(rows),
        args=RewardConfig(**settings(tmp_path), center_rewards_coefficient=0.01),
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    trainer.model.eval()
    with torch.no_grad():
        theirs, outputs = trainer.compute_loss(trainer.model, dict(batch), return_outputs=True)
    score_w, score_l = outputs.logits[:, 0].chunk(2)
    ours = bradley_terry(score_w, score_l, margin=batch["margin"] if margin else 0.0)
    assert ("margin" in batch) is margin
    assert_close((ours + 0.01 * centering(score_w, score_l)).mean(), theirs)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_and_entropy_equal_trls(temperature):
    from trl.trainer.utils import entropy_from_logits, selective_log_softmax

    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(6, 8, generator=generator), torch.randn(32, 8, generator=generator)
    logits, targets = (hidden @ weight.T)[None], torch.randint(32, (1, 6), generator=generator)
    assert_close(selective_logprobs(logits, targets, temperature), selective_log_softmax(logits / temperature, targets))
    assert_close(entropy(logits, temperature), entropy_from_logits(logits / temperature))
    logprobs, entropies = scored_logprobs_and_entropy(hidden, weight, targets[0], temperature, chunk=4)
    assert_close(scored_logprobs(hidden, weight, targets[0], temperature, chunk=4), logprobs)
    assert_close(logprobs, selective_log_softmax(logits / temperature, targets)[0])
    assert_close(entropies, entropy_from_logits(logits / temperature)[0])
