"""Delivers records to a store that may be slow, away for a while, or refuse them: in order, in a thread of its own.

Whoever gives a record never waits. What has not been delivered by the end is nobody's loss: the reports lie beside the
checkpoints, and the next driver delivers them.
"""

import queue
import threading
import time
from collections.abc import Callable

import mlflow.exceptions

from studies.credentials import mask_credentials

PASSING_ERRORS = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
SECONDS_BETWEEN_TRIES = 2.0

_Task = tuple[str, Callable[[], object]]
"""Whose record it is (an identity, or what a person would call it), and the writing of it."""


class Delivery:
    """A queue of writes. Each is tried until it succeeds or is refused; after a refusal nothing more of its owner is written,
    so that the next driver finds that owner's records unfinished.
    """

    def __init__(self) -> None:
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._rejections: dict[str, str] = {}
        self._writing = ""
        self._moved_at = time.monotonic()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="delivery", daemon=True)
        self._thread.start()

    def put(self, owner: str, write: Callable[[], object]) -> None:
        """Write this behind all that was given before."""
        self._tasks.put((owner, write))

    def reject(self, owner: str, reason: str) -> None:
        """Nothing of this owner can be delivered; ``close`` says so."""
        self._rejections[owner] = reason

    def flush(self, patience_s: float) -> bool:
        """Wait for what was given so far, as long as something is delivered every so many seconds; whether all of it was."""
        delivered = threading.Event()
        self.put("", delivered.set)
        self._moved_at = time.monotonic()
        while not delivered.wait(0.05):
            if not self._moves(patience_s):
                return False
        return True

    def close(self, patience_s: float) -> list[str]:
        """Wait as ``flush`` does, then end; a reason for each record that was not delivered. A second time it does nothing."""
        if self._given_up.is_set():
            return []
        self._tasks.put(None)
        self._moved_at = time.monotonic()
        while self._thread.is_alive() and self._moves(patience_s):
            self._thread.join(0.05)
        late = [self._writing, *(task[0] for task in list(self._tasks.queue) if task)] if self._thread.is_alive() else []
        self._given_up.set()
        return [*self._rejections.values(), *("no answer in time" for owner in late if owner)]

    def _moves(self, patience_s: float) -> bool:
        return time.monotonic() - self._moved_at < patience_s

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._writing, write = task
            while self._writing not in self._rejections and not self._given_up.is_set():
                try:
                    write()
                except Exception as error:  # noqa: BLE001  # artifact stores have their own kinds
                    if _is_passing(error):
                        time.sleep(SECONDS_BETWEEN_TRIES)
                        continue
                    self.reject(self._writing, mask_credentials(f"{self._writing}: {type(error).__name__}: {error}"))
                break
            self._moved_at = time.monotonic()


def _is_passing(error: Exception) -> bool:
    """Whether the same write may succeed later: the store is away or busy."""
    if isinstance(error, mlflow.exceptions.MlflowException):
        return error.error_code in PASSING_ERRORS
    return isinstance(error, OSError) and not isinstance(error, PermissionError | FileNotFoundError)
