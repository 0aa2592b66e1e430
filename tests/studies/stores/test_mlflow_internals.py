"""What is used of MLflow beside its public interface, and what happens where MLflow has changed it."""

import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.utils import rest_utils

from studies.stores import mlflow_internals
from studies.stores.mlflow_access import search_runs
from studies.stores.mlflow_internals import CHECKED_FOR, read_histories_in_bulk, search_runs_as_json

PRIVATE = ("_tracking_client", "rest_utils", "get_metric_history_bulk", "get_host_creds")
ROOT = Path(__file__).parents[3]


def test_private_parts_are_used_in_one_module() -> None:
    """No other module of the engine or the analysis names them."""
    files = [file for package in ("studies", "analysis") for file in (ROOT / package).rglob("*.py")]
    users = {file.name for file in files if any(part in file.read_text() for part in PRIVATE)}
    assert users == {"mlflow_internals.py"}


def test_a_part_that_has_changed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error has the part, the version that is installed, and those that are expected."""
    monkeypatch.setattr(rest_utils, "http_request", print)
    with pytest.raises(RuntimeError, match="http_request") as caught:
        mlflow_internals.check()
    assert CHECKED_FOR in str(caught.value)


def test_without_private_parts_the_public_ones_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where a part is missing there are no rows, which tells the callers to use the client's methods."""
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    run_id = client.create_run("0").info.run_id
    client.log_metric(run_id, "loss", 0.5, step=1)
    assert [row["value"] for row in read_histories_in_bulk(client, [run_id], "loss") or []] == [0.5]
    monkeypatch.setattr(mlflow_internals, "_MISSING", ["rest_utils.http_request"])
    assert read_histories_in_bulk(client, [run_id], "loss") is None
    assert search_runs_as_json(client, "0", "", 10) is None
    assert [run.info.run_id for run in search_runs(client, "0")] == [run_id]


def test_what_is_missing_is_said_when_it_is_imported() -> None:
    """A warning in words, and no error: reading is slower, and nothing else."""
    change = "from mlflow.utils import rest_utils; rest_utils.http_request = print"
    command = [sys.executable, "-c", f"{change}; import studies.stores.mlflow_internals"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stderr
    assert "RuntimeWarning: MLflow" in said
    assert "http_request" in said
    assert "reading takes longer" in said
