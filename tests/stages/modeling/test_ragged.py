"""Rows end to end: each sees its own prompt and itself, whichever way attention is computed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_run import BASE
from torch import Tensor

from pipeline.contract import ModelConfig
from pipeline.errors import ModelError
from stages.modeling.backbone import open_backbone
from stages.modeling.ragged import Group, Ragged, attend

LAYER = SimpleNamespace(layer_idx=0)  # all that is asked of an attention module
ROWS = Ragged([Group([5, 6, 7], [[8, 9], [10], [11, 12, 13]]), Group([14], []), Group([15, 16], [[17]])])

OPENING = [20, 21, 22, 23, 24, 25, 26, 27]  # of all prompts, one of which has nothing more
OPENED = Ragged([Group(OPENING + group.prompt, group.answers) for group in ROWS.groups] + [Group(OPENING, [[18, 19]])])


def alone(model: ModelConfig, rows: Ragged) -> Tensor:
    """The hidden states of each part, from one forward of its prompt and itself."""
    backbone = open_backbone(model)
    backbone.load("policy", BASE)
    states = []
    for group in rows.groups:
        for answer in [[], *group.answers]:
            with torch.no_grad():
                hidden = backbone.hidden("policy", Ragged([Group(group.prompt + answer, [])]))
            states.append(hidden[len(group.prompt) :] if answer else hidden[rows.opening :])
    return torch.cat(states)


@pytest.mark.parametrize("rows", [ROWS, OPENED], ids=["rows", "opened"])
@pytest.mark.parametrize("attention", [None, "sdpa", "eager"])
def test_rows_do_not_see_each_other_and_a_shared_prompt_is_seen_by_all(
    loud: ModelConfig, attention: str | None, rows: Ragged
) -> None:
    backbone = open_backbone(replace_attention(loud, attention))
    backbone.load("policy", BASE)
    with torch.no_grad():
        together = backbone.hidden("policy", rows)
    torch.testing.assert_close(together[rows.opening :], alone(loud, rows), atol=2e-5, rtol=1e-5)


def replace_attention(model: ModelConfig, attention: str | None) -> ModelConfig:
    return model.model_copy(update={"attn_implementation": attention})


@pytest.mark.parametrize("rows", [ROWS, OPENED], ids=["rows", "opened"])
def test_gradients_are_the_same_when_attention_goes_part_by_part(loud: ModelConfig, rows: Ragged) -> None:
    found = []
    for attention in (None, "sdpa"):
        backbone = open_backbone(replace_attention(loud, attention))
        backbone.load("policy", BASE, trainable=True, seed=1)
        with torch.no_grad():
            for name, parameter in backbone.parameters("policy").items():
                parameter.fill_(0.01 if "lora_B" in name else 0.02)
        (backbone.hidden("policy", rows) ** 2).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in backbone.parameters("policy").values()]))  # type: ignore[union-attr]
    torch.testing.assert_close(found[0], found[1], atol=1e-4, rtol=1e-3)
    assert found[0].abs().max() > 0


@pytest.mark.parametrize("rows", [ROWS, OPENED], ids=["rows", "opened"])
@pytest.mark.parametrize("attention", [None, "sdpa"])
def test_filler_changes_nothing_before_it(loud: ModelConfig, attention: str | None, rows: Ragged) -> None:
    filled, count = rows.filled(128), len(rows.ids_N)
    assert len(filled.ids_N) == 128 > count
    assert filled.filled(128) == filled
    backbone = open_backbone(replace_attention(loud, attention))
    backbone.load("policy", BASE)
    with torch.no_grad():
        found, expected = (backbone.hidden("policy", x) for x in (filled, rows))
    torch.testing.assert_close(found[:count], expected, atol=2e-5, rtol=1e-5)


def test_positions_of_each_answer_go_on_from_its_prompt() -> None:
    assert ROWS.positions_N.tolist() == [0, 1, 2, 3, 4, 3, 3, 4, 5, 0, 0, 1, 2]
    assert ROWS.starts == [[0, 3, 5, 6], [9], [10, 12]]
    assert OPENED.positions_N.tolist() == [*range(8), *(8 + p for p in ROWS.positions_N.tolist()), 8, 9]
    assert OPENED.starts == [[8, 11, 13, 14], [17], [18, 20], [21, 21]]


def test_what_all_prompts_begin_with_is_laid_down_once() -> None:
    assert (ROWS.opening, OPENED.opening) == (0, len(OPENING))
    assert len(OPENED.ids_N) == len(ROWS.ids_N) + len(OPENING) + 2
    for index, group in enumerate(OPENED.groups):
        places = [OPENED.place(index, token) for token in range(len(group.prompt))]
        assert OPENED.ids_N[places].tolist() == group.prompt


def test_prompts_that_begin_alike_for_a_few_tokens_only_or_a_single_one_have_no_opening() -> None:
    assert Ragged([Group([*OPENING[:7], n], []) for n in (1, 2)]).opening == 0
    assert Ragged([Group(OPENING, [[1], [2]])]).opening == 0


@pytest.mark.parametrize("rows", [ROWS, OPENED], ids=["rows", "opened"])
@pytest.mark.parametrize("window", [1, 2, 4])
def test_sliding_window_hides_what_lies_too_far_back(window: int, rows: Ragged) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, len(rows.ids_N), 4, generator=generator) for _ in range(3))
    near = (rows.positions_N[:, None] - rows.positions_N < window) & rows.dense_mask(torch.device("cpu"))
    assert torch.equal(rows.dense_mask(torch.device("cpu"), window), near)
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=near)
    found, _ = attend(LAYER, query, key, value, None, ragged=rows, sliding_window=window)
    torch.testing.assert_close(found.transpose(1, 2), expected)


def test_grouped_queries_share_their_keys() -> None:
    generator = torch.Generator().manual_seed(0)
    query = torch.randn(1, 4, 13, 4, generator=generator)
    key, value = (torch.randn(1, 2, 13, 4, generator=generator) for _ in range(2))
    whole = [x.repeat_interleave(2, 1) for x in (key, value)]
    torch.testing.assert_close(
        attend(LAYER, query, key, value, None, ragged=ROWS)[0], attend(LAYER, query, *whole, None, ragged=ROWS)[0]
    )


def test_architecture_that_drops_the_layout_is_refused() -> None:
    tensor = torch.zeros(1, 1, 3, 4)
    with pytest.raises(ModelError, match="does not hand the rows' layout"):
        attend(object(), tensor, tensor, tensor, torch.empty(1, 1, 1, 0))


def test_architecture_that_does_not_number_its_layers_is_refused() -> None:
    tensor = torch.zeros(1, 1, 13, 4)
    with pytest.raises(ModelError, match="does not number its attention layers"):
        attend(object(), tensor, tensor, tensor, None, ragged=ROWS)


def test_generation_is_that_of_plain_attention(loud: ModelConfig, tmp_path: Path) -> None:
    prompts = torch.tensor([[0, 5, 6], [7, 8, 9]])
    texts = []
    for attention in (None, "sdpa"):
        backbone = open_backbone(replace_attention(loud, attention))
        backbone.load("policy", BASE)
        with backbone.model("policy") as model:
            mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
            texts.append(model.generate(input_ids=prompts, attention_mask=mask, max_new_tokens=8, do_sample=False))
    assert torch.equal(*texts)
