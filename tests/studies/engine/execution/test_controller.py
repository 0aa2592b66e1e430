"""What becomes of replicates whose processes break, that need more memory, whose study has a budget or is told to stop."""

import gc
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient
from optuna.trial import TrialState

from studies.engine.definition.loading import load_study
from studies.engine.execution.budget import CostMeter, StopReason, what_to_do
from studies.engine.execution.resource_requests import GIB
from studies.engine.execution.worker import DATA, OUT_OF_MEMORY, STORAGE, ReplicateWorker, _leave_modules_out_of_collections
from studies.engine.ledger.ledger import LedgerError, open_ledger
from tests.conftest import PATIENCE_S
from tests.studies.stage import Stage


def test_broken_processes_are_replaced_while_there_is_progress(tiny_study: Path) -> None:
    """Three that break in a row, without one more epoch, are the end of a replicate; it goes before what is not begun."""
    stage = Stage(load_study(str(tiny_study)))
    first = stage.begin()
    assert first
    for epoch in (1, 2):
        for _ in range(2):
            stage.controller.process_died(first, "ActorDiedError: gone")
            assert stage.begin() == first
        stage.report(first, epoch)
    for _ in range(2):
        stage.controller.process_died(first, "ActorDiedError: gone")
        assert stage.begin() == first
        stage.report(first, 2)  # what it had done before
    stage.controller.process_died(first, "a traceback\nActorDiedError: gone")
    assert stage.states() == {first: TrialState.FAIL}
    assert stage.ledger.entries()[first].reason == "ActorDiedError: gone (3 attempts)"
    assert stage.begin() not in (first, None)
    assert stage.tracker.close(60) == []


def test_a_deadline_is_named(tiny_study: Path) -> None:
    """A replicate of which nothing was heard for so long has FAILED for that."""
    stage = Stage(load_study(str(tiny_study), ["deadline_s=0.01"]))
    for _ in range(3):
        first = stage.begin() or ""
        time.sleep(0.02)
        stage.controller.process_died(first, "ActorDiedError: gone")
    assert stage.ledger.entries()[first].reason == "no epoch was done within the deadline of 0.01 s (3 attempts)"


def test_out_of_memory_is_more_memory_and_smaller_parts(tiny_study: Path) -> None:
    """Each time twice as much is asked for, for half as many images at once; the next driver knows; one image is the end."""
    study = load_study(str(tiny_study), ["config.batch_size=4"])
    stage = Stage(study)
    assignments = [stage.controller.next_assignment()]
    for error in ("OutOfMemoryError: a task was killed", ""):
        assert assignments[-1]
        identity = assignments[-1]["identity"]
        if error:
            stage.controller.process_died(identity, error)  # Ray killed it
        else:
            stage.controller.failed(identity, OUT_OF_MEMORY, "RuntimeError: can't allocate memory")  # it says so itself
        assignments.append(stage.controller.next_assignment())
    assert [assignment["num_micro_batches"] for assignment in assignments if assignment] == [1, 2, 4]
    memory = [assignment["resources"]["memory"] for assignment in assignments if assignment]
    assert memory == sorted(memory)
    successor = Stage(study)
    again = successor.controller.next_assignment()
    assert again
    assert (again["identity"], again["num_micro_batches"]) == (identity, 4)
    successor.controller.failed(identity, OUT_OF_MEMORY, "RuntimeError: can't allocate memory")
    assert successor.ledger.entries()[identity].reason.startswith("out of memory with one image at a time")
    assert stage.tracker.close(60) == []
    assert successor.tracker.close(60) == []


def test_memory_is_that_of_what_runs(tiny_study: Path) -> None:
    """Without a GPU a BITnet is given what its kernels need; plain PyTorch, and a GPU's share, more."""
    larger = ["factors.time_steps=[50,100]", "baseline.time_steps=50", "config.batch_size=2048"]
    given = {}
    for name, changes in {"kernels": [], "torch": ["config.backend=torch"], "gpu": ["resources.gpus=1"]}.items():
        stage = Stage(load_study(str(tiny_study), [*larger, *changes, f"name={name}"]))
        assignment = stage.controller.next_assignment()
        assert assignment
        given[name] = (assignment["resources"]["memory"], stage.controller._in_flight[assignment["identity"]].predicted_bytes)
        assert stage.tracker.close(60) == []
    assert given["kernels"][0] == GIB // 2 < given["torch"][0]
    assert given["gpu"][1] == given["torch"][1] > 10 * given["kernels"][1]


def test_a_budget_of_replicates(tiny_study: Path) -> None:
    """So many are begun, in all, and go on to their end; a larger budget begins more."""
    study = load_study(str(tiny_study), ["budget={replicates: 2}"])
    stage = Stage(study)
    first, second = stage.begin(), stage.begin()
    assert first
    assert stage.begin() is None
    assert stage.controller.stop_reason == StopReason("budget", "budget.replicates of 2 is used up", pauses=False)
    assert not stage.report(first, 1)
    stage.controller.process_died(first, "gone")
    assert stage.controller.is_waiting()
    assert stage.begin() == first
    stage.controller.tick()
    assert "replicates in training train to their end" in stage.screen.getvalue()
    stage.end(first)
    assert len(stage.states()) == 2
    larger = Stage(load_study(str(tiny_study), ["budget={replicates: 3}"]))
    assert [larger.begin() == second, larger.begin() in (first, second, None), larger.begin()] == [True, False, None]


@pytest.mark.parametrize("name", ["hours", "gpu_hours"])
def test_a_budget_of_hours(name: str, tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in training pauses after its epoch; what was spent is in the ledger, and counts for the next driver."""
    monkeypatch.setattr("studies.engine.execution.controller.SECONDS_BETWEEN_LOOKS", 0.0)
    study = load_study(str(tiny_study), ["budget={" + name + ": 1}", "resources.gpus=0.5"])
    stage = Stage(study)
    stage.ledger.store_meter({"seconds": 3599.9, "gpu_seconds": 3599.95})
    stage = Stage(study)
    first = stage.begin()
    assert first
    assert not stage.report(first, 1)
    time.sleep(0.15)
    stage.controller.tick()
    assert stage.controller.stop_reason == StopReason("budget", f"budget.{name} of 1 is used up")
    assert stage.report(first, 2)
    stage.controller.close()
    assert stage.states() == {first: TrialState.RUNNING}
    assert open_ledger(study.stores.ledger, "tiny", study.space).meter()["seconds"] > 3600
    larger = Stage(load_study(str(tiny_study), ["budget={" + name + ": 2}", "resources.gpus=0.5"]))
    larger.controller.tick()
    assert larger.controller.stop_reason is None
    assert larger.begin() == first


def test_what_a_replicate_cost(tiny_study: Path) -> None:
    """Seconds in training over all its processes, and the same times its share of a GPU, are in its run."""
    stage = Stage(load_study(str(tiny_study), ["resources.gpus=0.25"]))
    for _ in range(2):
        first = stage.begin()
        assert first
        time.sleep(0.1)
        if _ == 0:
            stage.controller.process_died(first, "gone")
    stage.end(first)
    assert stage.tracker.close(60) == []
    client = MlflowClient(stage.study.stores.tracking_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("tiny").experiment_id], "attributes.status = 'FINISHED'")
    assert run.data.metrics["cost/seconds"] >= 0.2
    assert run.data.metrics["cost/gpu_seconds"] == pytest.approx(run.data.metrics["cost/seconds"] / 4)


def test_a_meter_is_kept() -> None:
    """What is read back goes on where it was."""
    meter = CostMeter()
    meter.start("a", gpus=2)
    time.sleep(0.05)
    successor = CostMeter.from_stored(meter.stored())
    assert successor.gpu_seconds == pytest.approx(2 * successor.replicate_seconds["a"])
    successor.start("a", gpus=1)
    assert successor.seconds_of("a") >= 0.05
    successor.finish("a")
    assert successor.stored()["replicate_seconds"] == {}


def test_a_disk_that_is_full_pauses_the_study(tiny_study: Path) -> None:
    """Nobody has FAILED: what is in training pauses, and is RUNNING in the ledger for the next driver."""
    stage = Stage(load_study(str(tiny_study)))
    first, second = stage.begin(), stage.begin()
    assert first
    assert second
    stage.controller.failed(first, STORAGE, "OSError: No space left on device")
    assert stage.controller.stop_reason
    assert (stage.controller.stop_reason.kind, stage.begin(), stage.controller.is_waiting()) == ("storage", None, False)
    assert stage.report(second, 1)
    stage.controller.close()
    assert set(stage.states().values()) == {TrialState.RUNNING}
    assert stage.tracker.close(60) == []
    assert Stage(stage.study).begin() == first


def test_a_ledger_that_cannot_be_written_pauses_the_study(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What has ended without being written down ends again, from its reports, when the next driver takes it up."""
    stage = Stage(load_study(str(tiny_study)))
    first = stage.begin()

    def refuse(*_: object) -> None:
        raise LedgerError("the ledger could not be written (No space left on device)")

    monkeypatch.setattr(stage.ledger, "complete", refuse)
    stage.end(first)
    assert stage.controller.stop_reason
    assert stage.states() == {first: TrialState.RUNNING}
    assert stage.progress.num_done == 0


KILLED_FOR_MEMORY = """
import time, ray
from studies.engine.execution.retries import names_memory
from studies.engine.execution.ray_session.ray_session import ray_session

@ray.remote
class Worker:
    def train(self):
        time.sleep(60)

with ray_session(None, 1):
    try:
        ray.get(Worker.remote().train.remote(), timeout=60)
    except ray.exceptions.RayError as error:
        print(type(error).__name__, names_memory(str(error)))
"""


def test_ray_says_when_it_killed_a_process_for_memory() -> None:
    """The error of a worker that a real Ray ended because its node had no memory left is known as such."""
    tiny = {"RAY_memory_usage_threshold": "0.01", "RAY_memory_monitor_refresh_ms": "100"}
    command = [sys.executable, "-c", KILLED_FOR_MEMORY]
    said = subprocess.run(command, env={**os.environ, **tiny}, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
    assert said.stdout.split()[-1] == "True", said.stdout


def test_other_data_pause_the_study(tiny_study: Path, tiny_npz: Path) -> None:
    """A data file that changes while the study runs fails no replicate: the study stops, and says what to do."""
    data = tiny_study.with_name("mine.npz")
    data.write_bytes(tiny_npz.read_bytes())
    stage = Stage(load_study(str(tiny_study), [f"config.data={data}"]))
    assignment = stage.controller.next_assignment()
    assert assignment
    with np.load(data) as saved:
        np.savez(data, **{**saved, "test_labels": 1 - saved["test_labels"]})
    worker = object.__new__(ReplicateWorker)
    worker.setup({"assignment": assignment})
    failure = worker.step()["failure"]
    assert failure["kind"] == DATA
    stage.controller.failed(assignment["identity"], failure["kind"], failure["reason"])
    assert set(stage.states().values()) == {TrialState.RUNNING}
    assert stage.controller.next_assignment() is None
    reason = stage.controller.stop_reason
    assert reason
    assert f"the data {data} on" in reason.words
    assert f"not {assignment['data_digest'][:8]}" in reason.words
    assert "put the file back to go on" in what_to_do(reason)
    data.unlink()
    worker.setup({"assignment": assignment})
    assert "a data file must exist" in worker.step()["failure"]["reason"]


def test_a_worker_leaves_modules_out_of_collections_once(tiny_study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every replicate begins with a garbage collection; from a process's second one on, it does not look through the modules."""
    frozen: list[int] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(1))
    _leave_modules_out_of_collections.cache_clear()
    worker = object.__new__(ReplicateWorker)
    assignment = Stage(load_study(str(tiny_study), ["config.epochs=1"])).controller.next_assignment()
    worker.setup({"assignment": assignment})
    assert worker.step()["done"]
    assert not frozen  # what a training imports late was not there yet
    for _ in range(2):
        assert worker.reset_config({"assignment": assignment})
        worker.cleanup()
    assert frozen == [1]
    _leave_modules_out_of_collections.cache_clear()
