"""Which dtype the base weights get where the recipe leaves it open."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.contract import LoraConfig, ModelConfig
from stages.modeling.precision import cpu_multiplies_bfloat16, mixes_bfloat16, weights_dtype

LORA = ModelConfig(model_name_or_path="m", lora=LoraConfig())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16", True),
        ("flags\t\t: fpu avx2 amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("model name\t: a bf16 machine\nflags\t\t: fpu avx2", False),
        ("", False),
    ],
)
def test_bfloat16_is_native_when_the_processor_says_so(tmp_path: Path, text: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text + "\n", "utf-8")
    assert cpu_multiplies_bfloat16(tmp_path / "cpuinfo") is expected


def test_bfloat16_is_not_native_when_the_system_does_not_say(tmp_path: Path) -> None:
    assert not cpu_multiplies_bfloat16(tmp_path / "absent")


def test_auto_is_bfloat16_under_lora_where_the_hardware_has_it() -> None:
    assert weights_dtype(LORA, True) == "bfloat16"
    assert weights_dtype(LORA, False) == "float32"


def test_auto_is_float32_when_every_weight_is_trained() -> None:
    assert weights_dtype(ModelConfig(model_name_or_path="m"), True) == "float32"


def test_dtype_that_was_asked_for_is_kept() -> None:
    asked = LORA.model_copy(update={"dtype": "bfloat16"})
    assert weights_dtype(asked, False) == "bfloat16"


def test_whole_weights_multiply_in_bfloat16_where_the_hardware_does_and_nothing_else_was_asked_for() -> None:
    whole = ModelConfig(model_name_or_path="m")
    assert mixes_bfloat16(whole, True)
    assert not mixes_bfloat16(whole, False)
    assert not mixes_bfloat16(LORA, True)
    assert not mixes_bfloat16(whole.model_copy(update={"dtype": "float32"}), True)
