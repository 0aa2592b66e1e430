"""A queue of writes to a store that may be slow, be unreachable for a while, or refuse a record.

One thread writes in order, and giving a record never waits. What has not been written by the end is not lost: the reports lie
beside the checkpoints, and the next driver writes them.
"""

import queue
import threading
import time
from collections.abc import Callable

import mlflow.exceptions

from studies.credentials import mask_credentials
from studies.plain_text import first_line

PASSING_ERRORS = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
SECONDS_BETWEEN_TRIES = 2.0
SECONDS_UNTIL_HELD_UP = 30.0
"""How long one write may be tried before a person is told."""

_Task = tuple[str, Callable[[], object]]
"""The record's owner (an identity, or a name such as "the report"), and the function that writes it."""


class WriteQueue:
    """Each write is tried until it succeeds or is refused. After a refusal nothing more of the same owner is written, so that the
    next driver finds that owner's records unfinished and writes them again.
    """

    def __init__(self) -> None:
        self._tasks: queue.Queue[_Task | None] = queue.Queue()
        self._rejections: dict[str, str] = {}
        self._writing = ""
        self._moved_at = time.monotonic()
        self._writing_since: float | None = None
        self._why_again = ""
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._work, name="write queue", daemon=True)
        self._thread.start()

    def put(self, owner: str, write: Callable[[], object]) -> None:
        """Add a write of this owner to the end of the queue."""
        self._tasks.put((owner, write))

    def reject(self, owner: str, reason: str) -> None:
        """Write nothing more of this owner; ``close`` will return the reason."""
        self._rejections[owner] = reason

    def held_up(self) -> str:
        """Why the present write has been tried for ``SECONDS_UNTIL_HELD_UP``; empty if it has not."""
        since = self._writing_since
        if since is None or time.monotonic() - since < SECONDS_UNTIL_HELD_UP:
            return ""
        return self._why_again or f"no answer for {SECONDS_UNTIL_HELD_UP:g} s"

    def flush(self, patience_s: float) -> bool:
        """Wait until all that was given so far is written; whether it was. Gives up after ``patience_s`` without a write."""
        delivered = threading.Event()
        self.put("", delivered.set)
        self._moved_at = time.monotonic()
        while not delivered.wait(0.05):
            if not self._is_moving(patience_s):
                return False
        return True

    def close(self, patience_s: float) -> list[str]:
        """Wait as ``flush`` does, then end. Returns a reason for each record that was not written; a second call returns none."""
        if self._given_up.is_set():
            return []
        self._tasks.put(None)
        self._moved_at = time.monotonic()
        while self._thread.is_alive() and self._is_moving(patience_s):
            self._thread.join(0.05)
        late = [self._writing, *(task[0] for task in list(self._tasks.queue) if task)] if self._thread.is_alive() else []
        self._given_up.set()
        return [*self._rejections.values(), *("no answer in time" for owner in late if owner)]

    def _is_moving(self, patience_s: float) -> bool:
        return time.monotonic() - self._moved_at < patience_s

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._writing, write = task
            self._writing_since, self._why_again = time.monotonic(), ""
            while self._writing not in self._rejections and not self._given_up.is_set():
                try:
                    write()
                except Exception as error:  # noqa: BLE001  # artifact stores have their own kinds
                    if _is_passing(error):
                        self._why_again = mask_credentials(first_line(error))
                        time.sleep(SECONDS_BETWEEN_TRIES)
                        continue
                    self.reject(self._writing, mask_credentials(f"{self._writing}: {type(error).__name__}: {error}"))
                break
            self._moved_at, self._writing_since = time.monotonic(), None


def _is_passing(error: Exception) -> bool:
    """Whether the same write may succeed later, because the store is unreachable or busy."""
    if isinstance(error, mlflow.exceptions.MlflowException):
        return error.error_code in PASSING_ERRORS
    return isinstance(error, OSError) and not isinstance(error, PermissionError | FileNotFoundError)
