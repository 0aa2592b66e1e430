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

if TYPE_CHECKING:  # imported in the functions that need it, which keeps the process small
    from studies.engine.definition.locations import Stores

WELL = b"all is well\n"
"""What the driver sends when it ends by itself."""
MOST_TRIES = 20
SECONDS_BETWEEN_TRIES = 30.0


@contextmanager
def watched(stores: "Stores") -> Iterator[None]:
    """A context in which a watchdog process watches this one."""
    watchdog = subprocess.Popen(
        [sys.executable, "-m", "studies.engine.recording.watchdog"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # a signal to the driver's session does not reach it
    )
    assert watchdog.stdin
    # through the pipe, since they may hold a password, and ps shows arguments
    watchdog.stdin.write(json.dumps(dataclasses.asdict(stores), default=str).encode() + b"\n")
    watchdog.stdin.flush()
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # it was ended from outside
            watchdog.stdin.write(WELL)
            watchdog.stdin.close()
        watchdog.wait()


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
