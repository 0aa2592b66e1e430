"""Whole studies through the real Optuna, Ray Tune and MLflow, started as a user starts them, killed as machines kill."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from typer.testing import CliRunner

from studies.cli import app
from tests.conftest import PATIENCE_S, SPIKESWEEP, Start, read_if_there, run, wait_for, workers_of
from tests.studies.stage import list_ledger


def mlflow_runs(storage: Path) -> tuple[list[Run], list[Run], MlflowClient]:
    """Study runs, replicate runs, and the client to ask more."""
    client = MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    children = [found for found in runs if "mlflow.parentRunId" in found.data.tags]
    return [found for found in runs if found not in children], children, client


def assert_whole(storage: Path, *, epochs: int = 3) -> None:
    """Six replicates: one COMPLETE ledger trial, one FINISHED run, one value per metric and epoch each; one finished parent."""
    assert list_ledger(str(storage / "ledgers" / "tiny.journal")) == {"tiny": {"COMPLETE": 6}}
    parents, children, client = mlflow_runs(storage)
    assert [parent.info.status for parent in parents] == ["FINISHED"]
    assert Counter(child.info.status for child in children) == {"FINISHED": 6}
    assert len({child.data.tags["spikesweep.identity"] for child in children}) == 6
    for child in children:
        for metric in ("train/loss", "val/accuracy", "sparsity/layer1", "time/images_per_s"):
            steps = [point.step for point in client.get_metric_history(child.info.run_id, metric)]
            assert steps == list(range(1, epochs + 1))
        curve = [point.step for point in client.get_metric_history(child.info.run_id, "accuracy_at_t")]
        assert curve == list(range(1, int(child.data.params["time_steps"]) + 1))
        assert 0 <= child.data.metrics["test/accuracy"] <= 1
        assert "model/MLmodel" in {file.path for file in client.list_artifacts(child.info.run_id, "model")}


def printed(command: str, *arguments: str | Path) -> Any:
    """What a command prints with ``--json``."""
    result = CliRunner().invoke(app, [command, *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_run_report_and_run_again(tiny_study: Path) -> None:
    """A study runs to its end with a report; the same command again trains nothing and changes nothing."""
    storage = tiny_study.parent / "results"
    first = run(tiny_study)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "6/6 done" in first.stdout
    assert "validation accuracy by time_steps" in first.stdout
    assert_whole(storage)
    parents, children, client = mlflow_runs(storage)
    artifacts = {file.path for file in client.list_artifacts(parents[0].info.run_id, "report")}
    assert {"report/summary.html", "report/summary.md", "report/effects.csv", "report/replicates.csv"} <= artifacts
    figures = {file.path for file in client.list_artifacts(parents[0].info.run_id, "report/figures")}
    assert {"report/figures/accuracy_against_t.svg", "report/figures/accuracy_against_t.png"} <= figures

    written = {file: file.stat().st_mtime_ns for file in storage.glob("checkpoints/*/*")}
    assert len(written) == 6 + 6  # reports and weights
    again = run(tiny_study)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "running" not in again.stdout
    assert {file: file.stat().st_mtime_ns for file in storage.glob("checkpoints/*/*")} == written
    assert {child.info.run_id for child in mlflow_runs(storage)[1]} == {child.info.run_id for child in children}
    assert_whole(storage)

    assert printed("status", tiny_study)["states"] == {"COMPLETE": 6}
    look = "import sys; from studies.engine.execution.status import study_status as s; "
    look += "print(s(sys.argv[1]).states, 'torch' in sys.modules)"
    quick = subprocess.run([sys.executable, "-c", look, str(tiny_study)], capture_output=True, text=True, check=True)
    assert quick.stdout.strip() == "{'COMPLETE': 6} False"  # by the ledger alone
    assert printed("status", tiny_study, "--set", "seeds=3")["states"] == {"COMPLETE": 6, "PLANNED": 3}
    content = printed("report", tiny_study)
    outcomes = Counter(effect["outcome"] for effect in content["effects"])
    assert outcomes == dict.fromkeys(("val/accuracy", "sparsity/overall", "spikes_per_neuron/overall", "test/accuracy"), 4)
    assert "no corrected p-value can fall below" in content["warnings"][0]

    longer = run(tiny_study, "--set", "seeds=3")
    assert longer.returncode == 0, longer.stdout + longer.stderr
    assert {file: file.stat().st_mtime_ns for file in written} == written
    assert list_ledger(str(storage / "ledgers" / "tiny.journal")) == {"tiny": {"COMPLETE": 9}}


@pytest.mark.slow
def test_a_replicate_that_runs_out_of_memory(tiny_study: Path, start: Start) -> None:
    """Where the system refuses a worker more memory, its replicate goes on in another with half the batch at a time, and twice
    the memory asked for; the record says so."""
    tiny_study.write_text(
        f"""\
question: What if memory runs out?
name: tiny
trainable: bitnet
config: {{data: digits, epochs: 4, batch_size: 128, layout: 64 64 M 64, gradient: surrogate, num_train_images: 256}}
baseline: {{time_steps: 32}}
factors: {{time_steps: [32, 31]}}
seeds: 1
storage: {tiny_study.parent / "results"}
"""
    )
    storage = tiny_study.parent / "results"
    driver = start(tiny_study, "--num-cpus", "1")
    wait_for(storage, "checkpoints/*/checkpoint.pt", 1, driver)
    (worker,) = workers_of(driver.pid)
    sizes = []
    for _ in range(100):  # between two batches it is small
        sizes.append(int(read_if_there(Path(f"/proc/{worker}/statm")).split()[0]) * resource.getpagesize())
        time.sleep(0.01)
    limit = min(sizes) + 60 * 2**20
    resource.prlimit(worker, resource.RLIMIT_AS, (limit, limit))
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    _, children, _ = mlflow_runs(storage)
    assert [child.info.status for child in children] == ["FINISHED"] * 2
    peaks = {child.data.tags.get("spikesweep.num_micro_batches"): child.data.metrics["memory/peak_bytes"] for child in children}
    assert peaks["2"] < peaks[None]


@pytest.mark.slow  # pytest -m faults does it too, with less to train
def test_killed_drivers_lose_and_repeat_nothing(tiny_study: Path, start: Start) -> None:
    """kill -9 of the driver, three times in one study: the last run ends it whole, with no doubled run or epoch."""
    storage = tiny_study.parent / "results"
    for num_reached in (1, 2, 4):
        driver = start(tiny_study, "--set", "config.epochs=10")
        wait_for(storage, "checkpoints/*/reports.json", num_reached, driver)
        driver.kill()
        driver.wait()
    finished = {file: file.stat().st_mtime_ns for file in storage.glob("checkpoints/*/reports.json")}
    last = run(tiny_study, "--set", "config.epochs=10")
    assert last.returncode == 0, last.stdout + last.stderr
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert_whole(storage, epochs=10)


@pytest.mark.slow  # pytest -m faults does it too, with less to train
def test_a_killed_worker_is_replaced(tiny_study: Path, start: Start) -> None:
    """kill -9 of the process that trains: the replicate goes on from its checkpoint in another, and the study ends whole."""
    storage = tiny_study.parent / "results"
    driver = start(tiny_study, "--set", "config.epochs=10")
    wait_for(storage, "checkpoints/*/checkpoint.pt", 1, driver)
    workers = workers_of(driver.pid)
    assert workers
    os.kill(workers[0], signal.SIGKILL)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert_whole(storage, epochs=10)


@pytest.mark.slow  # pytest -m faults does it too, with less to train
def test_interrupted_once(tiny_study: Path, start: Start) -> None:
    """Ctrl-C leaves no run RUNNING, says how to go on, and exits with 1; a smaller study may go on, and then the whole."""
    storage = tiny_study.parent / "results"
    driver = start(tiny_study, "--set", "config.epochs=10")
    wait_for(storage, "checkpoints/*/checkpoint.pt", 1, driver)
    driver.send_signal(signal.SIGINT)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 1, output
    assert "run the same command again" in output
    parents, children, _ = mlflow_runs(storage)
    assert {found.info.status for found in [*parents, *children]} <= {"KILLED", "FINISHED"}
    fewer = run(tiny_study, "--set", "config.epochs=10", "--set", "seeds=1")
    assert fewer.returncode == 0, fewer.stdout + fewer.stderr
    assert "RUNNING" not in list_ledger(str(storage / "ledgers" / "tiny.journal"))["tiny"]  # what it left out was let go
    last = run(tiny_study, "--set", "config.epochs=10")
    assert last.returncode == 0, last.stdout + last.stderr
    assert_whole(storage, epochs=10)


def test_failures_do_not_stop_the_study(tiny_study: Path) -> None:
    """Replicates that diverge are FAILED with the reason, named in the report; the others finish; --retry-failed tries again."""
    storage = tiny_study.parent / "results"
    changes = ["--set", "factors={lr: [0.005, 1e38]}", "--set", "baseline={lr: 0.005}"]
    result = run(tiny_study, *changes)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "2 replicates failed" in result.stderr
    assert "lr=1e+38 · seed 1: failed, TrainingError: epoch 1: the weights" in result.stdout
    assert list_ledger(str(storage / "ledgers" / "tiny.journal")) == {"tiny": {"COMPLETE": 2, "FAIL": 2}}
    _, children, client = mlflow_runs(storage)
    assert Counter(child.info.status for child in children) == {"FINISHED": 2, "FAILED": 2}
    failed = next(child for child in children if child.info.status == "FAILED")
    assert [file.path for file in client.list_artifacts(failed.info.run_id)] == ["traceback.txt"]
    reasons = [child.data.tags["spikesweep.reason"] for child in children if child.info.status == "FAILED"]
    assert all("the weights are no longer finite" in reason for reason in reasons)

    again = run(tiny_study, *changes, "--retry-failed")
    assert again.returncode == 1
    assert "2 replicates failed" in again.stderr
    assert len(mlflow_runs(storage)[1]) == 4


@pytest.mark.slow
def test_errors_that_the_machine_may_have_made_are_repeated(tiny_study: Path) -> None:
    """A RuntimeError of torch (here: a device that is not there) is tried three times, each in a fresh process, then FAILED."""
    result = run(tiny_study, "--set", "config.device=cuda:63", "--set", "seeds=1")
    assert result.returncode == 1, result.stdout + result.stderr
    assert "its process died" not in (words := " ".join(result.stdout.split()))
    assert "(3 attempts)" in words
    assert list_ledger(str(tiny_study.parent / "results" / "ledgers" / "tiny.journal")) == {"tiny": {"FAIL": 3}}


def test_a_study_has_one_driver(tiny_study: Path, start: Start) -> None:
    """A second driver refuses, and names the first."""
    storage = tiny_study.parent / "results"
    driver = start(tiny_study, "--set", "config.epochs=10")
    wait_for(storage, "checkpoints/*/checkpoint.pt", 1, driver)
    second = run(tiny_study)
    assert second.returncode == 2
    assert f"already run by process {driver.pid} on " in second.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tracking-uri", "http://127.0.0.1:9"], "the tracking server must answer"),
        pytest.param(["--set", "factors.time_steps=[4,0]"], "factors.time_steps[1]", marks=pytest.mark.slow),
        pytest.param(["--storage", "/proc/nowhere"], "storage must be in a folder that can be written", marks=pytest.mark.slow),
        (["--set", "ledger=sqlite:////proc/nowhere/l.db"], "ledger must be in a folder that can be written"),
        (["--set", "resources.gpus=64"], "some node must have what one replicate asks for"),
        (["--address", "127.0.0.1:9"], "--address must lead to a Ray cluster"),
    ],
)
def test_bad_input_begins_nothing(arguments: list[str], expected: str, tiny_study: Path) -> None:
    """What cannot be run ends with exit code 2, one message, and no checkpoint."""
    result = run(tiny_study, *arguments)
    assert result.returncode == 2, result.stdout + result.stderr
    assert expected in result.stderr
    assert "Traceback" not in result.stderr
    made = {path.name for path in (tiny_study.parent / "results").glob("*")}
    assert made <= {"ledgers"}
    assert not list((tiny_study.parent / "results" / "ledgers").glob("*.journal"))


@pytest.mark.slow
def test_a_study_whose_data_change(tiny_study: Path, tiny_npz: Path) -> None:
    """run, check and the report say how many replicates were trained on the earlier data; put back, these count again."""
    data = tiny_study.with_name("mine.npz")
    data.write_bytes(before := tiny_npz.read_bytes())
    options = ("--set", f"config.data={data}", "--set", "seeds=1", "--set", "config.epochs=1")
    assert run(tiny_study, *options).returncode == 0
    with np.load(tiny_npz) as saved:
        np.savez(data, **{**saved, "test_labels": 1 - saved["test_labels"]})
    check = [*SPIKESWEEP, "check", str(tiny_study), "--no-timing", *options]
    told = "have changed: 3 replicates were trained on other data (digest"
    checked = " ".join(subprocess.run(check, capture_output=True, text=True, check=True).stdout.split())
    assert told in checked
    changed = run(tiny_study, *options)
    assert changed.returncode == 0
    assert told in changed.stdout
    assert "3 replicates are of other data than the study has now" in " ".join(changed.stdout.split())
    data.write_bytes(before)
    checkpoints = {file: file.stat().st_mtime_ns for file in (tiny_study.parent / "results").glob("checkpoints/*/reports.json")}
    assert len(checkpoints) == 6
    again = run(tiny_study, *options)
    assert again.returncode == 0
    assert told in again.stdout
    assert "3 of 3 replicates finished" in again.stdout
    assert {file: file.stat().st_mtime_ns for file in checkpoints} == checkpoints
