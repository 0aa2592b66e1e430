"""What is written for MLflow's pages in their own form; test_mlflow_pages.py opens the pages."""

import subprocess
import sys
from pathlib import Path

import pytest

from studies.engine.recording import mlflow_ui_internals
from studies.engine.recording.mlflow_ui_internals import CHECKED_FOR

ROOT = Path(__file__).parents[4]
WITH_ANOTHER_VERSION = """
import importlib.metadata
installed = importlib.metadata.version
importlib.metadata.version = lambda name: "3.99.0" if name == "mlflow" else installed(name)
import studies.engine.recording.mlflow_ui_internals
"""


def test_what_the_pages_do_not_know_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the word, and the versions that are expected."""
    monkeypatch.setattr(mlflow_ui_internals, "MODEL_HISTORY", "mlflow.history-of-spikes")
    with pytest.raises(RuntimeError, match=r"do not know mlflow\.history-of-spikes") as caught:
        mlflow_ui_internals.check()
    assert CHECKED_FOR in str(caught.value)


def test_pages_of_another_version_are_warned_of() -> None:
    """Views may be plain tags there: a warning says so, and nothing fails."""
    command = [sys.executable, "-c", WITH_ANOTHER_VERSION]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stderr
    assert "RuntimeWarning: Saved views, tables and models were made for the pages of" in said


def test_tables_are_as_mlflow_logs_them() -> None:
    """Columns and rows, and the tag that names the file as a table."""
    texts = mlflow_ui_internals.table_texts({"layers": [{"layer": "a", "error": 0.5}]})
    assert texts == {"layers.json": '{"columns": ["layer", "error"], "data": [["a", 0.5]]}'}
    assert mlflow_ui_internals.logged_tables(texts) == '[{"path": "layers.json", "type": "table"}]'
