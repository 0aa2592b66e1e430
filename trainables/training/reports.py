"""What a trainable says after every epoch."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any


class TrainingError(Exception):
    """Training cannot go on, and would fail again if it were repeated; the message says at which epoch, and why."""


@dataclass(frozen=True)
class Report:
    """One epoch of one replicate.

    Attributes:
        epoch: From 1.
        timestamp_ms: When the epoch ended, milliseconds since 1970; a resumed replicate repeats its old reports as they were.
        metrics: Scalars under slash-grouped names: ``train/loss``, ``val/accuracy``, ``sparsity/layer1``, … Accuracies,
            sparsities and rates are fractions.
        accuracy_at_t: Validation accuracy of the spike counts up to step t, for t = 1 … T.
        test_accuracy_at_t: The same on the test images: empty but in the last report, the only time they are looked at.
        final: Whether this is the last one.
    """

    epoch: int
    timestamp_ms: int
    metrics: dict[str, float]
    accuracy_at_t: list[float]
    test_accuracy_at_t: list[float] = field(default_factory=list)
    final: bool = False

    def __post_init__(self) -> None:
        bad = [name for name, value in self.metrics.items() if not math.isfinite(value)]
        if bad:
            raise TrainingError(f"epoch {self.epoch}: not a finite number: {', '.join(bad)}")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        return dataclasses.asdict(self)
