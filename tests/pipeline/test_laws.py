"""The laws of the house that a program can check: who imports what, and how light the light commands are."""

from __future__ import annotations

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from toy_project import Project

import pipeline
import stages

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "transformers", "trl", "peft", "datasets", "wandb", "accelerate", "numpy", "pyarrow", "pandas")
BLOCKED = f"""
import sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError(f"{{name}} is blocked here")

sys.meta_path.insert(0, Block())
from pipeline.cli import main
main(sys.argv[1:])
"""
COMMANDS = [["plan"], ["plan", "--set", "ppo.kl_coef=0.1"], ["status"], ["show"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_light_command_succeeds_with_heavy_libraries_blocked(project: Project, command: list[str]) -> None:
    recipe = ROOT / "recipes" / "quickstart.yaml"
    (project.root / "data").symlink_to(ROOT / "data")
    arguments = [sys.executable, "-c", BLOCKED, command[0], str(recipe), *command[1:]]
    result = subprocess.run(arguments, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "ppo" in result.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["run", "--help"], []], ids=str)
def test_help_succeeds_with_heavy_libraries_blocked(arguments: list[str]) -> None:
    result = subprocess.run([sys.executable, "-c", BLOCKED, *arguments], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_recipe_error_is_told_with_heavy_libraries_blocked(project: Project) -> None:
    result = subprocess.run([sys.executable, "-c", BLOCKED, "plan", "none.yaml"], capture_output=True, text=True)
    assert (result.returncode, result.stderr.count("error:")) == (2, 1)


def test_up_to_date_run_loads_nothing_heavy(project: Project) -> None:
    project.command("run", "chain.yaml", "sft")
    code = """
import atexit, sys
atexit.register(lambda: print("LOADED", *sys.modules))
from pipeline.cli import main
main(["run", "chain.yaml", "sft"])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=project.environment)
    assert "up to date" in result.stdout
    assert not set(HEAVY) & set(result.stdout.partition("LOADED")[2].split())


def sources(folder: str) -> list[Path]:
    found = sorted((ROOT / folder).rglob("*.py"))
    assert found
    return found


def imports(file: Path) -> Iterator[str]:
    """Every module a file imports, at its top or inside."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(folder: str, *, roots: set[str] = frozenset(), but: tuple[str, ...] = ()) -> list[str]:  # type: ignore[assignment]
    """Imports of these top-level packages, but for the named modules."""
    return [
        f"{file.relative_to(ROOT)}: {name}"
        for file in sources(folder)
        for name in imports(file)
        if name.split(".")[0] in roots and not f"{name}.".startswith(tuple(f"{allowed}." for allowed in but) or ("\0",))
    ]


def test_engine_imports_neither_heavy_libraries_nor_stages() -> None:
    roots = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "numpy", "stages"}
    assert offenders("pipeline", roots=roots) == []


def test_stages_use_of_the_engine_only_contract_and_errors() -> None:
    assert offenders("stages", roots={"pipeline"}, but=("pipeline.contract", "pipeline.errors")) == []


def test_objectives_import_only_torch_scipy_and_the_standard_library() -> None:
    allowed = {*sys.stdlib_module_names, "torch", "scipy", "stages"}
    names = {name for file in sources("stages/objectives") for name in imports(file)}
    assert {name for name in names if name.split(".")[0] not in allowed} == set()
    assert all(name.startswith("stages.objectives") for name in names if name.startswith("stages"))


def test_formats_import_neither_torch_nor_transformers() -> None:
    assert offenders("stages/formats", roots={"torch", "transformers", "trl", "peft"}) == []
    assert offenders("stages/formats", roots={"stages"}, but=("stages.formats",)) == []


@pytest.mark.parametrize(
    ("package", "below"),
    [
        ("annotation", ()),
        ("exchange", ("annotation",)),
        ("agreement", ("annotation",)),
        ("returns", ("annotation", "exchange", "agreement")),
    ],
)
def test_rankings_need_neither_torch_nor_transformers_and_no_room_above(package: str, below: tuple[str, ...]) -> None:
    allowed = [f"stages.{room}" for room in (package, *below, "formats", "objectives.shares")]  # the last: see below
    assert offenders(f"stages/{package}", roots={"torch", "transformers", "trl", "peft"}) == []
    assert offenders(f"stages/{package}", roots={"stages"}, but=tuple(allowed)) == []


def test_shares_need_only_the_standard_library() -> None:
    names = {name.split(".")[0] for name in imports(ROOT / "stages" / "objectives" / "shares.py")}
    assert names <= set(sys.stdlib_module_names)


def test_product_uses_nothing_of_trl() -> None:
    assert offenders("stages", roots={"trl"}) == []


def test_top_level_packages_are_this_projects() -> None:
    assert Path(pipeline.__file__).parent == ROOT / "pipeline"
    assert Path(stages.__file__).parent == ROOT / "stages"


@pytest.mark.parametrize("name", ["pipeline", "stages"])
def test_top_level_package_shadows_no_other_distribution(name: str) -> None:
    owners = importlib.metadata.packages_distributions().get(name, [])
    assert {owner.lower() for owner in owners} <= {"posttune"}


@pytest.mark.parametrize("module", ["pipeline.cli", "pipeline.worker", "stages.formats", "stages.sft", "stages.ppo"])
def test_importing_a_module_does_nothing(module: str, tmp_path: Path) -> None:
    state = "(signal.getsignal(2), logging.root.handlers[:], dict(os.environ))"
    code = f"import os, signal, logging\nbefore = {state}\nimport {module}\nassert before == {state}"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []
