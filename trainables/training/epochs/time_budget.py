"""The clock of a training that lasts for a number of seconds."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

EPOCHS, PROGRESS = "time/epochs", "time/progress"
"""Metrics of a training for a number of seconds: how many epochs it has had, and which fraction of the seconds is spent."""
SPENT = "spent_s"


class TimeBudget:
    """The seconds that a training may take, and those that it has taken: those that pass within ``running``.

    The clock is monotonic: nobody can set it. A resumed training begins with what its checkpoint says, so that seconds that were
    lost with a process count as not spent, and no second counts twice.

    Args:
        seconds: How many there are, above 0; None for a training that lasts for a number of epochs.
        state: What a checkpoint kept of an earlier process.
    """

    def __init__(self, seconds: float | None, state: Mapping[str, Any]) -> None:
        self._seconds = seconds
        self._spent_s: float = state.get(SPENT, 0.0)
        self._running_since: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """While this lasts, time is spent."""
        self._running_since = time.monotonic()
        try:
            yield
        finally:
            self._spent_s = self.spent_s
            self._running_since = None

    @property
    def spent_s(self) -> float:
        """The seconds spent up to now, which may be more than there were."""
        return self._spent_s + (0.0 if self._running_since is None else time.monotonic() - self._running_since)

    @property
    def progress(self) -> float | None:
        """Which fraction of the seconds is spent, from 0 to 1; None without a budget."""
        return None if self._seconds is None else min(1.0, self.spent_s / self._seconds)

    @property
    def is_used_up(self) -> bool:
        """Whether all of them are spent."""
        return self.progress == 1

    def state_dict(self) -> dict[str, float]:
        """What a checkpoint keeps of it."""
        return {} if self._seconds is None else {SPENT: self._spent_s}

    def metrics(self) -> dict[str, float]:
        """What a report says of it."""
        return {} if self.progress is None else {"time/spent_s": self.spent_s, PROGRESS: self.progress}

    @property
    def run_facts(self) -> dict[str, str]:
        """What a run says of it."""
        return {} if self._seconds is None else {"time_budget": f"trained for {self._seconds:g} s"}


NO_BUDGET = TimeBudget(None, {})
