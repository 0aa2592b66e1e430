"""The settings of libraries are there before the libraries are imported."""

import os
import subprocess
import sys

import pytest

from studies import library_settings

ENTRY_POINTS = (
    "analysis.ablation_summary",
    "analysis.study_summary",
    "analysis.compare_studies",
    "studies.engine.recording.tracker",
    "studies.stores.mlflow_access",
)
SPY = """
import importlib, os, sys
from importlib.abc import MetaPathFinder

class Spy(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in ("ray", "mlflow"):
            print(name, os.environ.get("MLFLOW_DISABLE_TELEMETRY"), os.environ.get("RAY_USAGE_STATS_ENABLED"))

sys.meta_path.insert(0, Spy())
importlib.import_module(sys.argv[1])
"""
BARE = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "TUNE_"))}


@pytest.mark.parametrize("module", ENTRY_POINTS)
def test_entry_points_set_them_before_mlflow_is_imported(module: str) -> None:
    """A library that reads its settings when it is imported finds them."""
    result = subprocess.run([sys.executable, "-c", SPY, module], env=BARE, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["mlflow true 0"]


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only variables that are not there are set."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "7")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    library_settings.set_library_defaults()
    assert (os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"], os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"]) == ("7", "1")
