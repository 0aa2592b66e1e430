"""The house stands as docs/architecture.md says."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("search_spaces", "trainables", "studies", "analysis")
SOURCES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_import_contracts() -> None:
    """Imports point one way (the contracts in pyproject.toml)."""
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--config", ROOT / "pyproject.toml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def module_name(file: Path) -> str:
    """A file's dotted name; a package's is that of its folder."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def import_graph() -> dict[str, set[str]]:
    """Which of our modules every module imports, in functions and by ``importlib.import_module("…")`` too."""
    files = {module_name(file): file for file in SOURCES if file.name != "__init__.py"}
    graph: dict[str, set[str]] = {}
    for module, file in files.items():
        names: set[str] = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                names |= {str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)}
        graph[module] = names & files.keys()
    return graph


def test_no_module_imports_itself_by_way_of_others() -> None:
    """The graph of our modules has no circle."""
    assert list(TopologicalSorter(import_graph()).static_order())  # CycleError names the circle


ROOMS = [module_name(file) for file in SOURCES if file.name == "__init__.py"]


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_no_room_imports_itself_by_way_of_others(room: str) -> None:
    """The graph of a folder's modules and subfolders has no circle."""
    graph: dict[str, set[str]] = {}
    for module, imports in import_graph().items():
        inside = [name.removeprefix(f"{room}.").partition(".")[0] for name in (module, *imports) if name.startswith(f"{room}.")]
        if module.startswith(f"{room}."):
            graph.setdefault(inside[0], set()).update(set(inside) - {inside[0]})
    assert list(TopologicalSorter(graph).static_order())


def test_trainables_know_no_orchestration() -> None:
    """Trainables import torch, torchvision, numpy, the standard library; Numba, Triton, scikit-learn, pyarrow where needed."""
    ours = {"trainables", "torch", "torchvision", "numpy", "numba", "llvmlite", "triton", "sklearn", "pyarrow"}
    allowed = {*ours, *sys.stdlib_module_names}
    for file in (ROOT / "trainables").rglob("*.py"):
        assert imported(file) <= allowed, file


@pytest.mark.parametrize(
    "module",
    [
        "run_record",
        "credentials",
        "library_settings",
        "own_packages",
        "process_folders",
        "stores/answer_limits",
        "stores/store_uris",
    ],
)
def test_what_engine_and_analysis_share_is_standard_library_only(module: str) -> None:
    """Writer and reader meet in modules that need nothing."""
    assert imported(ROOT / "studies" / f"{module}.py") <= sys.stdlib_module_names


def test_access_to_mlflow_needs_mlflow_alone() -> None:
    """What the engine and the analysis share of MLflow knows neither of them, and only MLflow and its databases."""
    for file in (ROOT / "studies" / "stores").glob("*.py"):
        assert imported(file) <= {"studies", "mlflow", "sqlalchemy", *sys.stdlib_module_names}


@pytest.mark.parametrize("file", [file for file in SOURCES if file.name == "__init__.py"], ids=str)
def test_init_files_are_a_docstring(file: Path) -> None:
    """Every __init__.py is a docstring."""
    (statement,) = ast.parse(file.read_text()).body
    assert isinstance(statement, ast.Expr)


def test_nothing_is_unpickled() -> None:
    """No source imports pickle, evaluates text, or loads YAML or checkpoints unsafely."""
    for file in SOURCES:
        tree = ast.parse(file.read_text())
        assert not imported(file) & {"pickle", "cloudpickle", "dill", "joblib"}, file
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id in ("eval", "exec")], file
        loads = [c for c in calls if ast.unparse(c.func) == "torch.load"]
        assert all("weights_only=True" in ast.unparse(call) for call in loads), file
        assert "yaml.load(" not in file.read_text(), file


def test_help_is_quick_to_import() -> None:
    """The command line's help needs neither torch nor Ray nor MLflow."""
    code = "import sys, studies.cli; print({'torch', 'ray', 'mlflow', 'optuna'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert result.stdout.strip() == "set()"
