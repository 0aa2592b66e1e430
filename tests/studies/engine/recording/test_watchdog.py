"""What MLflow says of a study whose driver was killed: a real process, killed with SIGKILL, and its real watchdog."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from studies import run_record
from studies.engine.recording.tracker import end_runs_of_killed_driver
from studies.stores import mlflow_access

DRIVER = """
import sys, time
from studies.engine.ledger.driver_lock import only_driver
from studies.engine.definition.loading import load_study
from studies.engine.recording.mlflow_store import connect
from studies.engine.recording.tracker import Tracker
from studies.engine.recording.watchdog import watched

study = load_study(sys.argv[1])
with only_driver(study.stores), watched(study.stores):
    tracker = Tracker(connect(study.stores.tracking_uri), study, study.replicates, [])
    tracker.begin(study.replicates[0])
    tracker.flush(60)
    print("running", flush=True)
    time.sleep(float(sys.argv[2]))
    tracker.close(60)
"""


def runs_in(folder: Path) -> list[Run]:
    """The study run, then the replicate run."""
    client = MlflowClient(f"sqlite:///{folder}/results/mlflow.db")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    return sorted(runs, key=lambda run: "mlflow.parentRunId" in run.data.tags)


def driver_of(study: Path, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", DRIVER, str(study), str(seconds)]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=study.parent)
    assert driver.stdout
    assert driver.stdout.readline() == "running\n"
    return driver


def test_more_runs_than_a_page_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that are ended leave the pages of RUNNING ones, and none is passed over."""
    monkeypatch.setattr(mlflow_access, "PAGE_SIZE", 2)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.create_experiment("tiny")
    tags = {run_record.STUDY: "tiny", run_record.KIND: run_record.KIND_REPLICATE}
    for _ in range(7):
        client.create_run(experiment, tags=tags)
    end_runs_of_killed_driver(client, "tiny")
    assert {run.info.status for run in client.search_runs([experiment])} == {"KILLED"}


def test_a_killed_study_does_not_run_for_ever(tiny_study: Path) -> None:
    """Seconds after a driver was killed, its runs are KILLED, with the reason, and the study's page says what to do."""
    driver = driver_of(tiny_study, 600)
    assert [run.info.status for run in runs_in(tiny_study.parent)] == ["RUNNING", "RUNNING"]
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + 60
    while {run.info.status for run in runs_in(tiny_study.parent)} != {"KILLED"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    study_run, replicate_run = runs_in(tiny_study.parent)
    status = "**Status** killed; run it again to finish it: 0 of 6 replicates finished"
    assert status in study_run.data.tags["mlflow.note.content"]
    assert replicate_run.data.tags["spikesweep.reason"] == "its driver was killed; run the study again to finish it"
    driver = driver_of(tiny_study, 0)  # takes them up again, and ends well
    assert driver.wait(timeout=60) == 0
    assert [run.info.status for run in runs_in(tiny_study.parent)] == ["RUNNING", "RUNNING"]  # as this one left them
    assert all("spikesweep.reason" not in run.data.tags for run in runs_in(tiny_study.parent))
