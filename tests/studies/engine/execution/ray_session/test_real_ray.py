"""Real studies on a real Ray whose processes are stopped or killed: the study goes on, or ends in order and is then continued."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.conftest import PATIENCE_S, SPIKESWEEP, Start, descendants, read_if_there, run, wait_for, workers_of
from tests.studies.engine.execution.test_runner import assert_whole, mlflow_runs
from tests.studies.stage import list_ledger

pytestmark = pytest.mark.slow


def process_of(driver: "subprocess.Popen[str]", name: str) -> int:
    (pid,) = [pid for pid in descendants(driver.pid) if name in read_if_there(Path(f"/proc/{pid}/comm"))]
    return pid


def test_a_frozen_worker_is_replaced(tiny_study: Path, start: Start) -> None:
    """SIGSTOP of a process that trains: it is killed, and its replicate goes on in another; the study ends whole."""
    driver = start(tiny_study, "--set", "config.epochs=10", "--set", "deadline_s=30")
    wait_for(tiny_study.parent / "results", "checkpoints/*/checkpoint.pt", 1, driver)
    (worker, *_) = workers_of(driver.pid)
    frozen = psutil.Process(worker)
    os.kill(worker, signal.SIGSTOP)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert not frozen.is_running()
    assert_whole(tiny_study.parent / "results", epochs=10)


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("gcs_server", signal.SIGKILL, "has ended"),
        ("raylet", signal.SIGKILL, "has ended"),
        ("gcs_server", signal.SIGSTOP, "has been stopped"),
        ("raylet", signal.SIGSTOP, "has been stopped"),
    ],
)
def test_a_ray_that_is_lost(name: str, number: signal.Signals, words: str, tiny_study: Path, start: Start) -> None:
    """The driver says which process it was, and ends in order; the same command goes on, and the study ends whole."""
    storage = tiny_study.parent / "results"
    driver = start(tiny_study, "--set", "config.epochs=150")
    wait_for(storage, "checkpoints/*/checkpoint.pt", 1, driver)
    pid = process_of(driver, name)
    lost = psutil.Process(pid)
    started_at = time.monotonic()
    os.kill(pid, number)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert time.monotonic() - started_at < 90
    assert driver.returncode == 1, output
    assert f"Ray's process {name} ({pid}) {words}" in output
    assert "run the same command again: finished epochs are kept" in output
    parents, children, _ = mlflow_runs(storage)
    assert "RUNNING" not in Counter(found.info.status for found in [*parents, *children])
    lost.wait(timeout=20)  # until it is gone: its parent is, so that nobody may have asked yet how it ended
    last = run(tiny_study, "--set", "config.epochs=150")
    assert last.returncode == 0, last.stdout + last.stderr
    assert_whole(storage, epochs=150)


def test_a_ray_that_is_stopped_at_the_end(tiny_study: Path, start: Start) -> None:
    """A study that ends before anybody has noticed that Ray was stopped ends well, and does not wait for it."""
    driver = start(tiny_study, "--set", "config.epochs=10")
    wait_for(tiny_study.parent / "results", "checkpoints/*/checkpoint.pt", 1, driver)
    os.kill(process_of(driver, "raylet"), signal.SIGSTOP)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert_whole(tiny_study.parent / "results", epochs=10)


def test_a_watchdog_that_was_killed(tiny_study: Path, start: Start) -> None:
    """Another is started, and the study says so."""
    driver = start(tiny_study, "--set", "config.epochs=10")
    wait_for(tiny_study.parent / "results", "checkpoints/*/checkpoint.pt", 1, driver)
    (pid,) = [pid for pid in descendants(driver.pid) if "recording.watchdog" in read_if_there(Path(f"/proc/{pid}/cmdline"))]
    os.kill(pid, signal.SIGKILL)
    output, _ = driver.communicate(timeout=PATIENCE_S)
    assert driver.returncode == 0, output
    assert "the watchdog process has ended; another one has been started" in output
    assert_whole(tiny_study.parent / "results", epochs=10)


def test_a_long_temporary_folder_and_what_a_killed_driver_leaves(tiny_study: Path, tmp_path: Path) -> None:
    """A study runs where the temporary folder's path is too long for sockets; the folders of a driver that was killed there go
    with the next one."""
    place = tmp_path / ("long" * 20)
    place.mkdir()
    command = [*SPIKESWEEP, "run", str(tiny_study)]
    environment = {**os.environ, "TMPDIR": str(place)}
    killed = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    wait_for(tiny_study.parent / "results", "checkpoints/*/checkpoint.pt", 1, killed)
    killed.kill()
    killed.communicate()
    assert list(place.glob("spikesweep-*"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(tiny_study.parent / "results")
    assert not list(place.glob("spikesweep-*"))


def test_output_that_nobody_reads(tiny_study: Path) -> None:
    """``spikesweep run … | head -1``: the study runs to its end, and standard error is told."""
    command = f"{' '.join(SPIKESWEEP)} run {tiny_study} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert "standard output was closed: the study goes on without it" in done.stderr
    assert len(done.stdout.splitlines()) == 1
    until = time.monotonic() + PATIENCE_S
    while list_ledger(str(tiny_study.parent / "results" / "ledgers" / "tiny.journal")) != {"tiny": {"COMPLETE": 6}}:
        assert time.monotonic() < until
        time.sleep(1)
