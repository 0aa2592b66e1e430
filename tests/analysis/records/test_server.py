"""A real MLflow server gives the same records as its store."""

import math
from pathlib import Path

from mlflow import MlflowClient

from analysis.records.loading import load_recorded_study
from analysis.records.mlflow_store import stored_runs
from studies.run_record import RunRecord
from tests.analysis.examples import run_of, study_of
from tests.analysis.mlflow_stores import write
from tests.studies.servers import free_port, mlflow_server


def test_a_server_gives_what_its_store_has(tmp_path: Path) -> None:
    """Statuses, times, tags and metrics, those that are no finite numbers too; also of runs that have not ended."""
    runs: list[RunRecord] = [run_of({"a": a}, seed, 0.5 + 0.01 * a, odd=seed - 1.5) for seed in range(2) for a in (0, 1)]
    runs += [run_of({"a": 0}, 2, math.nan), run_of({"a": 1}, 2, status="FAILED"), run_of({"a": 0}, 3, math.inf)]
    file, port = f"sqlite:///{tmp_path / 'mlflow.db'}", free_port()
    client = MlflowClient(file)
    experiment = write(client, study_of("one_factor_at_a_time", {"a": [0, 1]}, runs, name="served"), runs, tmp_path / "artifacts")
    client.create_run(experiment)
    with mlflow_server(tmp_path, port, file):
        uri = f"http://127.0.0.1:{port}"
        assert repr(stored_runs(MlflowClient(uri), experiment)) == repr(stored_runs(client, experiment))  # NaN equals nothing
        assert repr(load_recorded_study("served", uri).runs) == repr(load_recorded_study("served", file).runs)
