"""What a study may cost, what it has cost so far, and why it stops before every replicate is trained."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from studies.engine.definition.file_model import Budget

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class StopReason:
    """Why a study begins no more replicates.

    ``kind`` is "budget" if the study file allows no more, "interrupted" after a signal (Ctrl-C, or a cluster that takes its
    machine back), "storage" if a disk, the ledger or the study's lock can no longer be relied on, "ray" if Ray is lost, "data"
    if a data file is another one than the study was checked with.
    """

    kind: Literal["budget", "interrupted", "storage", "ray", "data"]
    words: str
    pauses: bool = True
    """Whether replicates in training stop after their current epoch, for the next run to resume; else they train to their end."""

    def announcement(self) -> str:
        """A sentence for the person at the terminal: the reason, and what becomes of the replicates in training."""
        running = "stop after their current epoch" if self.pauses else "train to their end"
        if self.kind == "ray":
            running = "continue from their last epoch in the next run"
        again = "; interrupt again to stop at once" if self.kind == "interrupted" else ""
        return f"{self.words}: replicates in training {running}{again}"


def what_to_do(reason: StopReason | None) -> str:
    """How a person continues a study that stopped before everything was trained, for whatever ``reason``."""
    if reason and reason.kind == "budget":
        return f"{reason.words}; raise it to continue"
    if reason and reason.kind in ("storage", "ray"):
        fix = "fix that and " if reason.kind == "storage" else ""
        return f"{reason.words}; {fix}run the same command again: finished epochs are kept"
    if reason and reason.kind == "data":
        return f"{reason.words}; put the file back to go on, or run the same command again to train with the new data"
    return "run the same command again to finish them"


@dataclass
class CostMeter:
    """The time that a study has taken, over all drivers that have run it.

    Attributes:
        seconds: Of drivers.
        gpu_seconds: Seconds in training times the share of a GPU, over all replicates and source networks.
        replicate_seconds: Seconds in training of each replicate (or source network) that has not finished, by identity.
    """

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    replicate_seconds: dict[str, float] = field(default_factory=dict)
    _since: float = field(default_factory=time.monotonic)
    _running: dict[str, tuple[float, float]] = field(default_factory=dict)
    """By identity: since when its time has not been added, and its share of a GPU."""

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "CostMeter":
        """Continue a meter from what ``stored`` returned."""
        return cls(stored.get("seconds", 0.0), stored.get("gpu_seconds", 0.0), dict(stored.get("replicate_seconds", {})))

    def stored(self) -> dict[str, Any]:
        """The meter as plain data for the ledger, after adding the time up to now."""
        self.read()
        return {"seconds": self.seconds, "gpu_seconds": self.gpu_seconds, "replicate_seconds": dict(self.replicate_seconds)}

    def read(self) -> None:
        """Add the time since the last reading."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        for identity, (since, gpus) in self._running.items():
            self._add(identity, now - since, gpus)
            self._running[identity] = (now, gpus)

    def start(self, identity: str, gpus: float) -> None:
        """Start the clock of a replicate (or source network) that trains on this share of a GPU."""
        self._running[identity] = (time.monotonic(), gpus)

    def pause(self, identity: str) -> None:
        """Stop the clock of a replicate; its next attempt starts it again."""
        if identity in self._running:
            since, gpus = self._running.pop(identity)
            self._add(identity, time.monotonic() - since, gpus)

    def finish(self, identity: str) -> None:
        """Stop the clock of a replicate for good."""
        self.pause(identity)
        self.replicate_seconds.pop(identity, None)

    def seconds_of(self, identity: str) -> float:
        """The seconds that a replicate has been in training so far, over all attempts."""
        self.read()
        return self.replicate_seconds.get(identity, 0.0)

    def _add(self, identity: str, seconds: float, gpus: float) -> None:
        self.gpu_seconds += seconds * gpus
        self.replicate_seconds[identity] = self.replicate_seconds.get(identity, 0.0) + seconds


def hours_used_up(budget: Budget | None, meter: CostMeter) -> StopReason | None:
    """A reason to pause the study if the hours of its budget, or its GPU hours, are used up."""
    if budget is None:
        return None
    for name, limit, seconds in (("hours", budget.hours, meter.seconds), ("gpu_hours", budget.gpu_hours, meter.gpu_seconds)):
        if limit is not None and seconds >= limit * SECONDS_PER_HOUR:
            return StopReason("budget", f"budget.{name} of {limit:g} is used up")
    return None


def replicates_used_up(budget: Budget | None, num_begun: int) -> StopReason | None:
    """A reason to begin no more if a study has begun as many replicates as its budget allows; those in training go on."""
    if budget is None or budget.replicates is None or num_begun < budget.replicates:
        return None
    return StopReason("budget", f"budget.replicates of {budget.replicates} is used up", pauses=False)
