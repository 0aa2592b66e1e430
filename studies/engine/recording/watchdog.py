"""Notes in MLflow that a study no longer runs when its driver was killed, which the driver itself cannot do.

The watchdog is a small process that outlives the driver. It imports MLflow only when the driver has been killed. Where the
watchdog dies too, as in a power cut, the study's page still shows when it was last written, and the next driver corrects the
status of all runs.
"""

import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from studies.own_packages import safe_children

if TYPE_CHECKING:  # imported in the functions that need it, which keeps the process small
    from studies.engine.definition.locations import Stores

WELL = b"all is well\n"
"""What the driver sends when it ends by itself."""
MOST_TRIES = 20
SECONDS_BETWEEN_TRIES = 30.0
SECONDS_TO_END = 5.0
"""How long a watchdog that was told to end is waited for; one that is frozen never would."""


class Watchdog:
    """The watchdog process of this driver.

    Args:
        stores: Of the study whose runs it ends if this process is killed.
    """

    def __init__(self, stores: "Stores") -> None:
        self._stores = stores
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with safe_children():
            process = subprocess.Popen(
                [sys.executable, "-m", "studies.engine.recording.watchdog"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a signal to the driver's session does not reach it
            )
        assert process.stdin
        # through the pipe, since they may hold a password, and ps shows arguments
        with suppress(BrokenPipeError):  # it has ended at once; ``replace_if_ended`` will see it
            process.stdin.write(json.dumps(dataclasses.asdict(self._stores), default=str).encode() + b"\n")
            process.stdin.flush()
        return process

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def replace_if_ended(self) -> bool:
        """Start another process if the present one was ended from outside; whether it was."""
        if self._process.poll() is None:
            return False
        self._process = self._start()
        return True

    def close(self) -> None:
        """Tell it that all is well, and wait for its end."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it was ended from outside
            self._process.stdin.write(WELL)
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def watched(stores: "Stores") -> Iterator[Watchdog]:
    """A context in which a watchdog process watches this one."""
    watchdog = Watchdog(stores)
    try:
        yield watchdog
    finally:
        watchdog.close()


def main() -> None:
    """Run as the watchdog: wait for the driver's end, and act if it was killed."""
    described = json.loads(sys.stdin.buffer.readline())
    if sys.stdin.buffer.readline() == WELL:  # else the pipe has closed, because its other end has died
        return
    for _ in range(MOST_TRIES):
        if _end_runs(described):
            return
        time.sleep(SECONDS_BETWEEN_TRIES)


def _end_runs(described: dict[str, Any]) -> bool:
    """Whether there is nothing more to do; False where MLflow cannot be reached."""
    from studies.engine.definition.locations import Stores  # noqa: PLC0415
    from studies.engine.errors import StudyError  # noqa: PLC0415
    from studies.engine.ledger.driver_lock import only_driver  # noqa: PLC0415
    from studies.engine.recording.mlflow_store import connect  # noqa: PLC0415
    from studies.engine.recording.tracker import end_runs_of_killed_driver  # noqa: PLC0415

    stores = Stores(**{**described, "storage": Path(described["storage"])})
    try:
        with only_driver(stores):
            pass  # no other driver has taken the study up; one that starts now takes longer to begin than this
    except StudyError:
        return True
    try:
        end_runs_of_killed_driver(connect(stores.tracking_uri), stores.name)
    except Exception:  # noqa: BLE001  # every store has its own kinds of error
        return False
    return True


if __name__ == "__main__":
    main()
