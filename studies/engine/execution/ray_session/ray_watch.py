"""Sees to it that a driver notices when Ray dies or freezes; Ray's own calls would wait for minutes, or end the driver."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import ray

SECONDS_BETWEEN_QUESTIONS = 2.0
SECONDS_OF_SILENCE = 60.0
"""How long Ray may answer nothing. The network of a cluster, and its head, may be away for a while."""
SECONDS_STOPPED = 15.0
"""How long a process of this machine's own Ray may be stopped."""
LONGEST_PAUSE_S = 2.0
"""The most that counts between two looks: when the driver itself was stopped, Ray was not silent."""
LOCAL_PROCESSES = ("gcs_server", "raylet")
"""Without one of these a Ray that was started on this machine is lost."""
_LOGS = ("raylet.err", "gcs_server.err", "raylet.out", "gcs_server.out")
_SIGNS_OF_ERRORS = ("Check failed", "error", "Error", "failed", "Failed", "Too many", "terminate")


class RayWatch:
    """Watches the Ray that this process is connected to, from a thread that asks it for its nodes now and then.

    Args:
        folder: That of a Ray which this process has started; None of one that it found.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._processes = _own_processes() if folder else []
        self._num_answers = self._num_seen = 0
        self._silence_s = self._stopped_s = 0.0
        self._looked_at = time.monotonic()
        self._trouble: str | None = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="ray watch", daemon=True)
        self._thread.start()

    def trouble(self) -> str | None:
        """Why Ray is lost, in words; None if it is not. To be asked about once a second; what is lost stays lost."""
        if self._trouble is None:
            now = time.monotonic()
            passed, self._looked_at = min(now - self._looked_at, LONGEST_PAUSE_S), now
            self._trouble = self._dead_process() or self._stopped_process(passed) or self._silence(passed)
        return self._trouble

    def close(self) -> None:
        """Ask no more."""
        self._is_closed.set()
        self._thread.join(SECONDS_BETWEEN_QUESTIONS)

    def end_processes(self) -> None:
        """Kill what is left of a Ray that this process has started: its processes and their workers."""
        for process in self._processes:
            with suppress(psutil.Error):
                for each in [process, *process.children(recursive=True)]:
                    with suppress(psutil.Error):
                        each.kill()

    def wake_stopped(self) -> None:
        """Let processes go on that were stopped as the study ended: Ray's own end would wait for them for ever."""
        for process in self._processes:
            if _status(process) == psutil.STATUS_STOPPED:
                with suppress(psutil.Error):
                    process.resume()

    def _ask(self) -> None:
        while not self._is_closed.wait(SECONDS_BETWEEN_QUESTIONS):
            with suppress(Exception):  # a question that failed is no answer, whatever the reason
                if any(node["Alive"] for node in ray.nodes()):
                    self._num_answers += 1

    def _dead_process(self) -> str | None:
        for process in self._processes:
            if _status(process) in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
                reason = "".join(f" ({words})" for words in last_error(self._folder))
                return f"Ray's process {_name(process)} ({process.pid}) has ended{reason}"
        return None

    def _stopped_process(self, passed: float) -> str | None:
        stopped = [process for process in self._processes if _status(process) == psutil.STATUS_STOPPED]
        self._stopped_s = self._stopped_s + passed if stopped else 0.0
        if self._stopped_s < SECONDS_STOPPED:
            return None
        return f"Ray's process {stopped[0].name()} ({stopped[0].pid}) has been stopped for {SECONDS_STOPPED:g} s"

    def _silence(self, passed: float) -> str | None:
        self._silence_s = self._silence_s + passed if self._num_answers == self._num_seen else 0.0
        self._num_seen = self._num_answers
        return f"Ray has not answered for {SECONDS_OF_SILENCE:g} s" if self._silence_s >= SECONDS_OF_SILENCE else None


def _own_processes() -> list[psutil.Process]:
    """Those of a Ray that this process has started, with their names, which are no longer known once they are dead."""
    children = psutil.Process().children()
    return [child for child in children if _name(child) in LOCAL_PROCESSES]


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _status(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except psutil.Error:
        return str(psutil.STATUS_DEAD)


def last_error(folder: Path | None) -> list[str]:
    """The last line with an error in the logs of Ray's processes; empty if there is none."""
    for name in _LOGS:
        for log in folder.glob(f"session_*/logs/{name}") if folder else ():
            with suppress(OSError):
                lines = [line for line in log.read_text(errors="replace").splitlines() if any(map(line.count, _SIGNS_OF_ERRORS))]
                if lines:
                    return [f"{name}: {lines[-1].strip()}"]
    return []
