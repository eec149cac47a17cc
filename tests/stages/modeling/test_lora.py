"""The fused layer against peft's own, with the same weights."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora.layer import Linear
from torch import Tensor, nn

from stages.modeling.lora import FEW_ROWS, FusedLinear, _Fused, fuse


class Two(nn.Module):
    """Two layers, one of them with a bias, so that a gradient passes through one to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5, bias=True), nn.Linear(5, 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x)))  # type: ignore[no-any-return]


def adapted(dtype: torch.dtype = torch.float64, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    config = LoraConfig(r=3, lora_alpha=7, target_modules=["first", "second"], init_lora_weights=False, **settings)  # type: ignore[arg-type]
    model = get_peft_model(Two(), config)  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        parameter.data = parameter.data.to(dtype if "lora_" not in name or dtype == torch.float64 else torch.float32)
    return model  # type: ignore[no-any-return]


def results(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    x = x.clone().requires_grad_()
    y = model(x)
    (y.float() ** 2).sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert x.grad is not None and len(grads) == 4
    return {"y": y.detach(), "x": x.grad, **grads}


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.05)]
)
@pytest.mark.parametrize("num_rows", [6, 2 * FEW_ROWS])
def test_values_and_gradients_are_those_of_peft(num_rows: int, dtype: torch.dtype, tolerance: float) -> None:
    x = torch.randn(2, num_rows // 2, 6, generator=torch.Generator().manual_seed(1)).to(dtype)
    theirs, model = results(adapted(dtype), x), adapted(dtype)
    fuse(model)
    ours = results(model, x)
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name].dtype == value.dtype, name
        torch.testing.assert_close(ours[name], value, atol=tolerance * float(value.abs().max()), rtol=0, msg=name)


def test_gradients_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    shapes = [(2, 3, 6), (5, 6), (5,), (3, 6), (5, 3)]
    given = [torch.randn(shape, dtype=torch.float64, requires_grad=i not in (1, 2)) for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(lambda *tensors: _Fused.apply(*tensors, 1.7), given)


def test_every_plain_layer_is_fused_once_and_an_adapter_can_still_be_turned_off() -> None:
    model = adapted()
    fuse(model)
    fuse(model)
    layers = [module for module in model.modules() if isinstance(module, Linear)]
    assert [type(layer) for layer in layers] == [FusedLinear, FusedLinear]
    x = torch.randn(3, 6, dtype=torch.float64)
    base = model.get_base_model()  # type: ignore[operator]
    with model.disable_adapter():  # type: ignore[operator]
        expected = layers[1].base_layer(torch.tanh(layers[0].base_layer(x)))
        torch.testing.assert_close(base(x), expected)
    assert not torch.allclose(base(x), expected)


@pytest.mark.parametrize("settings", [{"lora_dropout": 0.5}, {"use_dora": True}], ids=["dropout", "dora"])
def test_what_is_not_plain_lora_goes_the_way_of_peft(settings: dict[str, object]) -> None:
    x = torch.randn(2, 6, dtype=torch.float64)
    found = []
    for fused in (False, True):
        model = adapted(**settings).train()
        if fused:
            fuse(model)
        torch.manual_seed(5)
        found.append(model(x))
    torch.testing.assert_close(*found)


def test_dropout_is_passed_by_while_it_is_off() -> None:
    model = adapted(lora_dropout=0.5)
    fuse(model)
    model.eval()
    x = torch.randn(2, 6, dtype=torch.float64)
    torch.testing.assert_close(model(x), adapted(lora_dropout=0.5).eval()(x))


@pytest.mark.parametrize("num_rows", [FEW_ROWS, FEW_ROWS + 1])
def test_rows_without_gradients_give_the_same_bits(num_rows: int) -> None:
    x = torch.randn(num_rows, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    model = adapted(torch.bfloat16)
    fuse(model)
    with_gradients = model(x)
    assert with_gradients.grad_fn is not None
    with torch.no_grad():
        assert torch.equal(model(x), with_gradients)


@torch.no_grad()
def test_few_rows_give_what_many_do() -> None:
    x = torch.randn(FEW_ROWS, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
    model = adapted(torch.bfloat16)
    fuse(model)
    few, many = model(x), model(x.repeat(2, 1))[:FEW_ROWS]
    torch.testing.assert_close(few, many, atol=0.05 * float(many.abs().max()), rtol=0)
