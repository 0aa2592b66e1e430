"""Why a study ends before everything is trained, and what it has cost so far."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from studies.engine.definition.file_model import Budget

SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class StopReason:
    """Nothing more is begun, for this reason.

    ``kind`` budget was asked for; interrupted is a person's (or a scheduler's) wish; storage is a fault of the machine.
    """

    kind: Literal["budget", "interrupted", "storage"]
    words: str
    pauses: bool = True
    """Whether what is in training stops after its epoch, to be taken up again; else it goes on to its end."""


def what_to_do(stop_reason: StopReason | None) -> str:
    """How a study goes on that was stop_reason before everything was trained."""
    if stop_reason and stop_reason.kind == "budget":
        return f"{stop_reason.words}; a larger one lets the study go on"
    if stop_reason and stop_reason.kind == "storage":
        return f"{stop_reason.words}; mend that, and run the same command again to finish them: nothing is lost"
    return "run the same command again to finish them"


@dataclass
class CostMeter:
    """Hours of drivers and of GPUs, over all drivers that a study has had."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0
    replicate_seconds: dict[str, float] = field(default_factory=dict)
    """Of each replicate that is not over, in training so far."""
    _since: float = field(default_factory=time.monotonic)
    _running: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Since when, and with how many GPUs, by identity."""

    @classmethod
    def from_stored(cls, stored: Mapping[str, Any]) -> "CostMeter":
        """As ``stored`` left it."""
        return cls(stored.get("seconds", 0.0), stored.get("gpu_seconds", 0.0), dict(stored.get("replicate_seconds", {})))

    def stored(self) -> dict[str, Any]:
        """Plain data, for the ledger."""
        self.read()
        return {"seconds": self.seconds, "gpu_seconds": self.gpu_seconds, "replicate_seconds": dict(self.replicate_seconds)}

    def read(self) -> None:
        """Add the time since it was read last."""
        now = time.monotonic()
        self.seconds, self._since = self.seconds + now - self._since, now
        for identity, (since, gpus) in self._running.items():
            self._add(identity, now - since, gpus)
            self._running[identity] = (now, gpus)

    def start(self, identity: str, gpus: float) -> None:
        """A replicate, or a parent, has begun to train."""
        self._running[identity] = (time.monotonic(), gpus)

    def stop(self, identity: str) -> None:
        """It does not train any more."""
        if identity in self._running:
            since, gpus = self._running.pop(identity)
            self._add(identity, time.monotonic() - since, gpus)

    def end(self, identity: str) -> float:
        """It is over: the seconds that it took in all."""
        self.stop(identity)
        return self.replicate_seconds.pop(identity, 0.0)

    def _add(self, identity: str, seconds: float, gpus: float) -> None:
        self.gpu_seconds += seconds * gpus
        self.replicate_seconds[identity] = self.replicate_seconds.get(identity, 0.0) + seconds


def spent(budget: Budget | None, meter: CostMeter) -> str | None:
    """Which of the budget's hours are spent, in words; None while none are."""
    if budget is None:
        return None
    for name, limit, seconds in (("hours", budget.hours, meter.seconds), ("gpu_hours", budget.gpu_hours, meter.gpu_seconds)):
        if limit is not None and seconds >= limit * SECONDS_PER_HOUR:
            return f"budget.{name} of {limit:g} is spent"
    return None
