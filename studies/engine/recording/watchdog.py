"""Waits for its driver's death, and then says in MLflow that the study no longer runs.

A driver that is killed cannot. The watchman is a small process of its own, which outlives it; it imports MLflow only when it has
something to say. Where it dies too (the machine's power), the study's page still says when it was last written, and the next
driver sets all runs right.
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

if TYPE_CHECKING:  # imported where they are needed: a watchman is as small as Python is
    from studies.engine.definition.locations import Stores

WELL = b"all is well\n"
"""What the driver says when it ends by itself."""
MOST_TRIES = 20
SECONDS_BETWEEN_TRIES = 30.0


@contextmanager
def watched(stores: "Stores") -> Iterator[None]:
    """Have a watchman while a study runs."""
    watchman = subprocess.Popen(
        [sys.executable, "-m", "studies.engine.recording.watchdog"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # what ends the driver's session does not end it
    )
    assert watchman.stdin
    # through the pipe, since they may hold a password, and ps shows arguments
    watchman.stdin.write(json.dumps(dataclasses.asdict(stores), default=str).encode() + b"\n")
    watchman.stdin.flush()
    try:
        yield
    finally:
        with suppress(BrokenPipeError):  # somebody has ended it
            watchman.stdin.write(WELL)
            watchman.stdin.close()
        watchman.wait()


def main() -> None:
    """The watchman."""
    described = json.loads(sys.stdin.buffer.readline())
    if sys.stdin.buffer.readline() == WELL:  # else the pipe has closed, because its other end has died
        return
    for _ in range(MOST_TRIES):
        if _say(described):
            return
        time.sleep(SECONDS_BETWEEN_TRIES)


def _say(described: dict[str, Any]) -> bool:
    """Whether all is said: MLflow may be away."""
    from studies.engine.definition.locations import Stores  # noqa: PLC0415
    from studies.engine.errors import StudyError  # noqa: PLC0415
    from studies.engine.ledger.driver_lock import only_driver  # noqa: PLC0415
    from studies.engine.recording.mlflow_store import connect  # noqa: PLC0415
    from studies.engine.recording.tracker import end_runs_of_the_dead  # noqa: PLC0415

    stores = Stores(**{**described, "storage": Path(described["storage"])})
    try:
        with only_driver(stores):
            pass  # free: no other driver has taken the study up; one that comes now takes longer to begin than we to say it
    except StudyError:
        return True
    try:
        end_runs_of_the_dead(connect(stores.tracking_uri), stores.name)
    except Exception:  # noqa: BLE001  # every store has its own kinds of error
        return False
    return True


if __name__ == "__main__":
    main()
