"""What the code never does, whoever wrote the files that it reads."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import studies.library_settings

import pytest

from studies.engine.definition.loading import load_study

ROOT = Path(__file__).parents[1]
SOURCES = [file for package in ("search_spaces", "trainables", "studies", "analysis") for file in (ROOT / package).rglob("*.py")]
UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def calls(file: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file, by the dotted name that is called."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(ROOT)))
def test_nothing_that_is_read_can_run_code(file: Path) -> None:
    """No eval, no exec, no unpickling, no shell; YAML and JSON are plain data, and tensors are loaded weights-only."""
    imported = {
        alias.name for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Import) for alias in node.names
    }
    assert not imported & UNPICKLING
    for name, call in calls(file):
        assert name not in {"eval", "exec", "compile", "os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
        options = {option.arg: ast.unparse(option.value) for option in call.keywords}
        assert options.get("shell") is None
        if name == "torch.load":
            assert options["weights_only"] == "True"
        if name in {"np.load", "numpy.load"}:
            assert options.get("allow_pickle", "False") == "False"


def test_no_telemetry_unless_the_user_wants_it() -> None:
    """Ray and MLflow are told to send nothing, before they are imported; what the user has set stays."""
    show = "import os, studies.cli; print(*(os.environ[n] for n in ('RAY_USAGE_STATS_ENABLED', 'MLFLOW_DISABLE_TELEMETRY')))"
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    for given, expected in (({}, "0 true"), ({"RAY_USAGE_STATS_ENABLED": "1"}, "1 true")):
        command = [sys.executable, "-c", show]
        assert subprocess.run(command, env=bare | given, capture_output=True, text=True, check=True).stdout.strip() == expected
    studies.library_settings.set_library_defaults()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_keys_of_an_object_store_stay_out_of_the_record(tiny_study: Path) -> None:
    """The study's own text, which MLflow keeps, has the URI without them."""
    stores = [
        "storage=s3://me:hunter2@bucket/studies",
        "ledger=postgresql+psycopg://me:hunter3@host/db",
        "tracking_uri=http://host",
    ]
    study = load_study(str(tiny_study), stores)
    assert "hunter" not in study.text
    assert "bucket/studies" in study.text
