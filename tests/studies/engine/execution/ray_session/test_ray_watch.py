"""A driver learns that Ray has died, was stopped or is silent; real processes stand for those of Ray."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from studies.engine.execution.ray_session import ray_watch
from studies.engine.execution.ray_session.ray_watch import RayWatch


@pytest.fixture
def raylet(monkeypatch: pytest.MonkeyPatch) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that this one has started, under a name that Ray needs."""
    monkeypatch.setattr(ray_watch, "LOCAL_PROCESSES", ("sleep",))
    monkeypatch.setattr(ray_watch, "SECONDS_BETWEEN_QUESTIONS", 0.01)
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}])
    process = subprocess.Popen(["sleep", "600"])
    while psutil.Process(process.pid).name() != "sleep":
        time.sleep(0.01)
    yield process
    process.kill()
    process.wait()


def trouble_of(watch: RayWatch, seconds: float = 5.0) -> str | None:
    """What a watch says within so many seconds."""
    until = time.monotonic() + seconds
    while (trouble := watch.trouble()) is None and time.monotonic() < until:
        time.sleep(0.02)
    return trouble


@pytest.mark.usefixtures("raylet")
def test_all_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its processes live and it answers, however rarely the driver looks."""
    monkeypatch.setattr(ray_watch, "SECONDS_OF_SILENCE", 3.0)
    watch = RayWatch(tmp_path)
    assert trouble_of(watch, 0.2) is None
    watch._looked_at -= 1000  # the driver was stopped for a while
    assert trouble_of(watch, 0.2) is None
    watch.close()


def test_a_process_that_has_died(raylet: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """It is named at the next look, with the last error of its log."""
    (tmp_path / "session_1" / "logs").mkdir(parents=True)
    (tmp_path / "session_1" / "logs" / "raylet.err").write_text("all is well\nCheck failed: Too many open files\n")
    watch = RayWatch(tmp_path)
    raylet.kill()
    assert trouble_of(watch) == f"Ray's process sleep ({raylet.pid}) has ended (raylet.err: Check failed: Too many open files)"
    watch.close()


def test_a_process_that_is_stopped(raylet: "subprocess.Popen[bytes]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while; its end is enforced with the session's."""
    monkeypatch.setattr(ray_watch, "SECONDS_STOPPED", 0.2)
    watch = RayWatch(tmp_path)
    raylet.send_signal(signal.SIGSTOP)
    assert trouble_of(watch) == f"Ray's process sleep ({raylet.pid}) has been stopped for 0.2 s"
    watch.close()
    watch.end_processes()
    assert raylet.wait(5) == -signal.SIGKILL


@pytest.mark.usefixtures("raylet")
def test_a_cluster_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question that is never answered, or answered by an error, keeps nobody from noticing."""
    monkeypatch.setattr(ray_watch, "SECONDS_OF_SILENCE", 0.2)
    monkeypatch.setattr(ray, "nodes", lambda: time.sleep(0.5))
    watch = RayWatch()
    assert trouble_of(watch) == "Ray has not answered for 0.2 s"
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True}])
    assert trouble_of(watch) == "Ray has not answered for 0.2 s"  # what is lost stays lost
    watch.close()
