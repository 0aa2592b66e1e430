"""Each fence around a library's private parts is for the versions that pyproject.toml allows and that are installed."""

import ast
import importlib
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
FILES = [
    file.relative_to(ROOT)
    for package in ("studies", "analysis", "trainables", "search_spaces")
    for file in sorted((ROOT / package).rglob("*.py"))
]
WITH_FENCES = ("optuna", "ray", "mlflow")
FENCES = [file for file in FILES if file.name.endswith("_internals.py") or file.name == "ray_patches.py"]


@pytest.fixture(name="fence", params=FENCES, ids=str)
def imported_fence(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(".".join(request.param.with_suffix("").parts))


def test_fence_is_for_the_versions_that_are_allowed(fence: ModuleType) -> None:
    """Whoever raises a bound in pyproject.toml has to look at the fence before this test passes again."""
    checked = Requirement(fence.CHECKED_FOR)
    asked = {Requirement(line).name: line for line in _dependencies()}[checked.name]
    assert asked == fence.CHECKED_FOR, (
        f"pyproject.toml asks for {asked}, but {fence.__name__} was checked for {fence.CHECKED_FOR}: read in the new version "
        f"what each function of {fence.__name__} uses, run the tests of the modules that import it, then change CHECKED_FOR"
    )
    assert any(bound.operator == "<" for bound in checked.specifier), f"{checked} needs an upper bound: private parts change"


def test_fence_is_for_the_version_that_is_installed(fence: ModuleType) -> None:
    """The installed version is one of those, and has all that the fence uses."""
    checked = Requirement(fence.CHECKED_FOR)
    assert checked.specifier.contains(version(checked.name))
    fence.check()


def test_private_parts_are_used_in_fences_alone() -> None:
    """Ruff marks every use of a private part of another class; no module but the fences may say that it is meant."""
    assert Path("studies/engine/binding/optuna_internals.py") in FENCES
    users = {file for file in FILES if "noqa: SLF001" in (ROOT / file).read_text()}
    assert users <= set(FENCES)


def test_private_modules_are_imported_in_fences_alone() -> None:
    """No other module imports ``optuna._x``, or a name with an underscore from Optuna, Ray or MLflow."""
    names = {(file, name) for file in FILES if file not in FENCES for name in _imported((ROOT / file).read_text())}
    assert not {(file, name) for file, name in names if name.split(".")[0] in WITH_FENCES and "._" in name}


def test_private_imports_are_recognised() -> None:
    """In each form that Python has."""
    text = "import ray._private.services\nfrom optuna._hypervolume import wfg\ndef f():\n    from mlflow import _x\nimport ray"
    assert list(_imported(text)) == ["ray._private.services", "optuna._hypervolume.wfg", "ray", "mlflow._x"]


def _imported(text: str) -> Iterator[str]:
    """The dotted names that a module imports, also in functions."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _dependencies() -> list[str]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        dependencies: list[str] = tomllib.load(file)["project"]["dependencies"]
    return dependencies
