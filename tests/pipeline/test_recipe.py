"""Recipes: merging, overrides, defaults and the graph. The real stage kinds, whose configs are light."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.errors import RecipeError
from pipeline.recipe import MAKE_TARGETS, Recipe, load_recipe

ROOT = Path(__file__).parents[2]

BASIC = """\
model: {model_name_or_path: m, lora: {r: 8}}
data:
  rows: {path: rows.jsonl}
  other: {path: other.jsonl}
stages:
  evaluate: {candidates: [base, ppo], data: rows}
  ppo: {policy: sft, data: rows}
  rm: {policy: sft, data: rows}
  sft: {policy: base, data: rows}
"""

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a recipe file and returns its path."""

    def written(text: str, name: str = "basic.yaml") -> Path:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return written


def load(path: Path, *overrides: str) -> Recipe:
    return load_recipe(path, overrides)


def test_name_is_the_stem_when_left_out(write: Write) -> None:
    assert load(write(BASIC, "my-run.yaml")).name == "my-run"


def test_stages_are_ordered_by_what_they_need(write: Write) -> None:
    assert list(load(write(BASIC)).stages) == ["sft", "rm", "ppo", "evaluate"]


def test_resolved_recipe_shows_the_inputs_that_were_left_out(write: Write) -> None:
    stages = load(write(BASIC)).resolved()["stages"]
    assert (stages["ppo"]["reference"], stages["ppo"]["reward"]) == ("sft", "rm")
    assert (stages["evaluate"]["reward"], stages["evaluate"]["reference"]) == ("rm", None)
    assert stages["rm"]["eval_data"] == "rows"
    assert stages["sft"]["kind"] == "sft"


def test_default_is_refused_when_several_stages_could_be_meant(write: Write) -> None:
    text = BASIC + "  rm-2: {kind: rm, policy: sft, data: rows}\n"
    with pytest.raises(RecipeError, match="several stages could be meant: rm, rm-2") as caught:
        load(write(text))
    assert caught.value.remedy == "write reward: rm"


def test_extends_merges_key_by_key_and_takes_its_own_name(write: Write) -> None:
    write("name: parent\n" + BASIC)
    child = load(
        write("extends: basic.yaml\nstages: {sft: {max_length: 99}}\nmodel: {lora: {alpha: 4}}\n", "child.yaml")
    )
    assert child.name == "child"
    assert (child.stages["sft"].config.max_length, child.stages["sft"].data["data"]) == (99, ("rows",))
    assert (child.model.lora.r, child.model.lora.alpha) == (8, 4.0)


def test_error_names_the_parents_file_when_the_mistake_is_there(write: Write) -> None:
    write(BASIC.replace("candidates", "candidats"))
    with pytest.raises(RecipeError) as caught:
        load(write("extends: basic.yaml\n", "child.yaml"))
    assert re.search(r"basic\.yaml:6: stages\.evaluate\.candidats$", caught.value.where)


def test_extends_ring_is_refused(write: Write) -> None:
    write("extends: b.yaml\n", "a.yaml")
    with pytest.raises(RecipeError, match="extends itself"):
        load(write("extends: a.yaml\n", "b.yaml"))


@pytest.mark.parametrize(
    ("override", "read", "value"),
    [
        ("sft.learning_rate=1e-3", lambda r: r.stages["sft"].config.learning_rate, 1e-3),
        ("stages.sft.learning_rate=1e-3", lambda r: r.stages["sft"].config.learning_rate, 1e-3),
        ("model.lora.r=32", lambda r: r.model.lora.r, 32),
        ("model.lora=null", lambda r: r.model.lora, None),
        ("data.rows.limit=5", lambda r: r.data["rows"].limit, 5),
        ("seed=3", lambda r: r.seed, 3),
        ("tracking.wandb.mode=offline", lambda r: r.tracking.wandb.mode, "offline"),
        ("evaluate.candidates=[base]", lambda r: r.stages["evaluate"].config.candidates, ("base",)),
        ("description=a=b", lambda r: r.description, "a=b"),
    ],
)
def test_set_overrides_a_key_of_a_stage_or_a_section(
    write: Write, override: str, read: Callable[[Recipe], object], value: object
) -> None:
    assert read(load(write(BASIC), override)) == value


@pytest.mark.parametrize(
    ("override", "problem", "remedy"),
    [
        ("sft.learning_rat=1", "unknown key 'learning_rat'", "did you mean 'learning_rate'?"),
        ("sftt.learning_rate=1", "there is no stage or section 'sftt'", "did you mean 'sft'?"),
        ("sft.max_length=long", "'max_length' is 'long'", "it must be a valid integer"),
        ("nope=1", "unknown key 'nope'", "known: "),
        ("model.model_name_or_path.x=1", "'model_name_or_path' holds a value", "shorten the key"),
        ("seed", "an override is key=value", "for example"),
        ("=3", "an override is key=value", "for example"),
        ("sft..x=3", "an override is key=value", "for example"),
        ("seed=[1", "is not valid YAML", "quote it"),
    ],
)
def test_set_is_refused_by_its_own_text_when_wrong(write: Write, override: str, problem: str, remedy: str) -> None:
    with pytest.raises(RecipeError, match=re.escape(problem)) as caught:
        load(write(BASIC), override)
    assert caught.value.where.startswith(f"--set {override}")
    assert caught.value.remedy.startswith(remedy)


def test_cycle_is_refused_and_shown(write: Write) -> None:
    with pytest.raises(RecipeError, match=r"wait for each other: .*sft -> .*") as caught:
        load(write(BASIC.replace("sft: {policy: base", "sft: {policy: ppo")))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("old", "new", "problem", "line"),
    [
        ("policy: base", "policy: rm", "'rm' gives no policy", "9: stages.sft.policy"),
        ("policy: base", "policy: sfft", "there is no stage 'sfft'", "9: stages.sft.policy"),
        ("ppo: {policy: sft", "ppo: {policy: sft, reward: sft", "'sft' gives no reward", "7: stages.ppo.reward"),
        ("sft: {policy: base, data: rows", "sft: {data: row", "there is no data source 'row'", "9: stages.sft.data"),
        ("sft: {policy: base, data: rows", "sft: {data: []", "'data' names no data source", "9: stages.sft.data"),
        ("sft: {policy: base, data: rows", "sft: {policy: base", "the key 'data' is missing", "9: stages.sft.data"),
        ("policy: base", "rounds: 2", "unknown key 'rounds'", "9: stages.sft.rounds"),
        ("ppo: {", "ppo: {num_mini_batches: 5, ", "must divide into", "7: stages.ppo"),
    ],
)
def test_stage_is_refused_at_its_line(write: Write, old: str, new: str, problem: str, line: str) -> None:
    with pytest.raises(RecipeError, match=problem) as caught:
        load(write(BASIC.replace(old, new)))
    assert caught.value.where.endswith(f"basic.yaml:{line}")


@pytest.mark.parametrize("name", ["test", "base", "data", "rows", "report.html", "../x", "a b"])
def test_stage_name_is_refused_when_it_means_something_else(write: Write, name: str) -> None:
    with pytest.raises(RecipeError, match="a stage cannot be called"):
        load(write(BASIC + f"  '{name}': {{kind: sft, data: rows}}\n"))


def test_reserved_names_are_the_makefiles_goals() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    tools = re.search(r"^TOOLS := (.*)$", makefile, re.MULTILINE)
    assert tools is not None
    assert set(tools.group(1).split()) <= MAKE_TARGETS


@pytest.mark.parametrize("name", ["../up", "a/b", "", "a b", '"a\\n"'])
def test_recipe_name_is_refused_when_it_cannot_name_a_folder(write: Write, name: str) -> None:
    with pytest.raises(RecipeError, match="cannot name a folder"):
        load(write(f"name: {name or chr(34) * 2}\n" + BASIC, "a b.yaml"))


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_recipe_loads(path: Path) -> None:
    recipe = load(path)
    assert recipe.stages
    assert recipe.description


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").rglob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_stage_reads_its_own_resolved_config(path: Path) -> None:
    """The worker gets it with every default written out."""
    for stage in load(path).stages.values():
        assert type(stage.config).model_validate(stage.config.model_dump(mode="json")) == stage.config


def test_shipped_recipes_are_found_and_named_apart() -> None:
    names = [load(path).name for path in (ROOT / "recipes").rglob("*.yaml")]
    assert names
    assert len(set(names)) == len(names)
