"""What a trainable reports after every epoch."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


class TrainingError(Exception):
    """Training cannot go on, and would fail again if it were repeated; the message says at which epoch, and why."""


@dataclass(frozen=True)
class EpochReport:
    """One epoch of one replicate.

    Attributes:
        epoch: From 1.
        timestamp_ms: When the epoch ended, milliseconds since 1970; a resumed replicate repeats its old reports as they were.
        metrics: Scalars under slash-grouped names: ``train/loss``, ``val/accuracy``, ``sparsity/layer1``, … Accuracies,
            sparsities and rates are fractions.
        curves: What was measured up to time step t, for t = 1 … T, under stable names: ``accuracy_at_t`` of the validation
            images, ``test/accuracy_at_t`` in the last report only (the one time the test images are looked at, unless an epoch is
            selected on them), ….
        num_epochs: How many reports the replicate has in all; None while it is not known, in training for a number of seconds.
        run_facts: Facts about the run that its config does not hold, as text, e.g. the backend, or a calibration set's digest.
        tables: Rows with equal keys, by name, e.g. how well every layer of a converted network agrees with its source network's.
        correct: Of the last report: which of the ``validation`` and of the ``test`` images were judged right, as the texts of
            ``training.epochs.correct_images``; empty where nothing judges images.

    The last report is the one whose epoch is ``num_epochs``. Where an epoch was selected, its numbers are that epoch's.
    """

    epoch: int
    timestamp_ms: int
    metrics: dict[str, float]
    curves: dict[str, list[float]]
    num_epochs: int | None
    run_facts: dict[str, str] = field(default_factory=dict)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    correct: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bad = [name for name, value in self.metrics.items() if not math.isfinite(value)]
        if bad:
            raise TrainingError(f"epoch {self.epoch}: not a finite number: {', '.join(bad)}")

    @property
    def final(self) -> bool:
        """Whether this is the report of the last epoch."""
        return self.epoch == self.num_epochs

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON, as checkpoints keep it: there ``run_facts`` are called facts."""
        fields = dataclasses.asdict(self)
        return {("facts" if name == "run_facts" else name): value for name, value in fields.items()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The report of which ``as_dict`` made ``stored``.

        Raises:
            TypeError: ``stored`` lacks a field of a report, or has another one.
        """
        return cls(**{("run_facts" if name == "facts" else name): value for name, value in stored.items()})


def steps_to_within(accuracy_at_t: list[float], margin: float) -> int:
    """The first time step from which on the accuracy stays within ``margin`` of its final value."""
    final = accuracy_at_t[-1]
    outside = [t for t, accuracy in enumerate(accuracy_at_t, start=1) if abs(accuracy - final) > margin + 1e-9]
    return max(outside, default=0) + 1
