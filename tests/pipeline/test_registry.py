"""Stage kinds: the built-in ones, and those of another installed package."""

from __future__ import annotations

import subprocess
import sys

import pytest
from toy_project import Project

from pipeline import registry
from pipeline.contract import Input, StageConfig
from pipeline.errors import RecipeError, StageFailed
from pipeline.graph import input_fields


@pytest.mark.parametrize("kind", registry.BUILT_IN.values(), ids=lambda kind: kind.name)
def test_built_in_kind_has_a_config_whose_inputs_are_all_marked(kind: registry.Kind) -> None:
    config = registry.load(kind.config)
    assert issubclass(config, StageConfig)
    marks = dict(input_fields(config))
    assert any(mark.records for mark in marks.values())
    assert all(isinstance(mark, Input) and bool(mark.role) != bool(mark.records) for mark in marks.values())
    assert callable(registry.load(kind.estimate))


def test_kind_of_another_package_is_found_by_its_entry_point(project: Project) -> None:
    kind = registry.find("toy-rm")
    assert kind.run == "toy.reward.train:run"
    assert registry.load(kind.config).produces == "reward"


def test_unknown_kind_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RecipeError, match="no stage kind 'pppo'") as caught:
        registry.find("pppo", where="r.yaml:3")
    assert (caught.value.where, caught.value.remedy) == ("r.yaml:3", "did you mean 'ppo'?")


def test_kind_whose_package_cannot_be_imported_is_one_message() -> None:
    with pytest.raises(StageFailed, match="cannot be loaded") as caught:
        registry.load("no_such_package_here.config:Config")
    assert caught.value.where == "no_such_package_here.config:Config"


def test_configs_and_estimates_import_nothing_heavy() -> None:
    names = [dotted for kind in registry.BUILT_IN.values() for dotted in (kind.config, kind.estimate)]
    code = f"from pipeline import registry; import sys\nfor n in {names}: registry.load(n)\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "trl", "peft", "datasets", "wandb", "numpy", "pyarrow"} & set(loaded)
