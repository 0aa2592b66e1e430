"""Whether two trainings of a replicate agree to the last digit; where and by how much they differ, and what else differs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from studies.engine.recording import environment
from studies.engine.reproduction.recorded_replicate import OF_THE_MACHINE, RecordedReplicate
from studies.run_record import ACCURACY
from trainables.training.device_facts import DEVICE, NUM_THREADS
from trainables.training.epoch_report import EpochReport

NUM_MICRO_BATCHES = "num_micro_batches"
UNKNOWN = "not recorded"

Series = Mapping[int, float]
"""Values by epoch, or by time step for a curve."""


@dataclass(frozen=True)
class Difference:
    """A metric or a curve that differs between the record and the rerun."""

    name: str
    first_at: int
    """The first epoch (time step for a curve) at which it differs."""
    largest_at: int
    """The epoch or time step at which it differs most."""
    recorded: float
    """The run's value at ``largest_at``."""
    now: float
    """The rerun's value at ``largest_at``."""

    @property
    def relative(self) -> float:
        """The largest difference divided by the larger of its two absolute values."""
        return abs(self.now - self.recorded) / max(abs(self.now), abs(self.recorded))


@dataclass(frozen=True, kw_only=True)
class RerunComparison:
    """A recorded replicate compared with the reports of training it again (the rerun).

    Attributes:
        recorded: What MLflow has.
        reports: The rerun's, for as many epochs as the record has.
        identity: The replicate's identity in this version of the code.
        failure: Why the rerun ended early; empty if it did not.
    """

    recorded: RecordedReplicate
    reports: Sequence[EpochReport]
    identity: str
    failure: str = ""

    @cached_property
    def metrics(self) -> dict[str, Series]:
        """The rerun's metrics, without those of time, memory and cost."""
        names = dict.fromkeys(name for report in self.reports for name in report.metrics if not name.startswith(OF_THE_MACHINE))
        return {name: {r.epoch: r.metrics[name] for r in self.reports if name in r.metrics} for name in names}

    @cached_property
    def curves(self) -> dict[str, Series]:
        """The curves of the rerun's last report."""
        final = self.reports[-1] if self.reports and self.reports[-1].final else None
        return {name: dict(enumerate(curve, 1)) for name, curve in final.curves.items()} if final else {}

    @cached_property
    def differences(self) -> list[Difference]:
        """All differences: metrics before curves, and in each those that begin first before others."""
        of_metrics, of_curves = self._differences(self.metrics), self._differences(self.curves)
        return [*sorted(of_metrics, key=_place), *sorted(of_curves, key=_place)]

    def _differences(self, ours: Mapping[str, Series]) -> Iterator[Difference]:
        for name, values in ours.items():
            theirs = self.recorded.metrics.get(name, {})
            both = sorted(values.keys() & theirs.keys())
            sizes = {step: abs(values[step] - theirs[step]) for step in both if values[step] != theirs[step]}
            if sizes:
                worst = max(sizes, key=sizes.__getitem__)
                yield Difference(name, min(sizes), worst, theirs[worst], values[worst])

    @property
    def num_metrics(self) -> int:
        """The number of metrics that both have."""
        return len(self.metrics.keys() & self.recorded.metrics.keys())

    @property
    def num_curves(self) -> int:
        """The number of curves that both have."""
        return len(self.curves.keys() & self.recorded.metrics.keys())

    @property
    def num_epochs(self) -> int:
        """The number of epochs that both have."""
        return min(len(self.reports), self.recorded.num_epochs)

    @property
    def failed_alike(self) -> bool:
        """Whether both failed, after the same number of epochs."""
        return bool(self.failure) and self.recorded.status == "FAILED" and len(self.reports) == self.recorded.num_epochs

    @property
    def agrees(self) -> bool:
        """Whether all numbers that both have are equal, for all epochs of the record; or both failed before the first epoch."""
        if self.failure and not self.failed_alike:
            return False
        is_whole = len(self.reports) >= self.recorded.num_epochs
        return is_whole and not self.differences and (self.num_metrics > 0 or self.failed_alike)

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """The record's and the rerun's validation accuracy after the last epoch that both have; None if they have none."""
        ours, theirs = self.metrics.get(ACCURACY, {}), self.recorded.metrics.get(ACCURACY, {})
        last = max(ours.keys() & theirs.keys(), default=None)
        return None if last is None else (theirs[last], ours[last])

    @property
    def only_recorded(self) -> list[str]:
        """The metrics and curves that the record has and a complete rerun lacks."""
        is_whole = bool(self.reports) and self.reports[-1].final
        return [name for name in self.recorded.metrics if is_whole and name not in {**self.metrics, **self.curves}]

    @property
    def only_now(self) -> list[str]:
        """The metrics and curves that the rerun has and the record lacks, if the record has an epoch."""
        ours = {**self.metrics, **self.curves}
        return [name for name in ours if self.recorded.num_epochs and name not in self.recorded.metrics]

    @cached_property
    def unlike(self) -> dict[str, tuple[str, str]]:
        """Versions, commit, device and so on that differ, and may be why numbers do: in the record, and here."""
        facts = self.reports[-1].run_facts if self.reports else {}
        here = {"commit": environment.git_commit(), **environment.versions(), **facts, "identity": self.identity}
        there = {"commit": self.recorded.commit, **self.recorded.versions, **self.recorded.facts}
        there["identity"] = self.recorded.identity
        there |= {fact: UNKNOWN for fact in (DEVICE, NUM_THREADS) if fact not in there}
        found = {name: (there[name], value) for name, value in here.items() if there.get(name, value) != value}
        if not self.differences:
            return found
        commit, parts = self.recorded.commit, facts.get(NUM_MICRO_BATCHES)
        if commit.endswith("-dirty") and here["commit"] == commit:
            found["commit"] = (commit, f"{commit}, perhaps with other changes")
        if parts and parts == there.get(NUM_MICRO_BATCHES):
            found[NUM_MICRO_BATCHES] = (f"{parts}, perhaps not from its first epoch on", parts)
        return found


def agreement_at(recorded: RecordedReplicate, report: EpochReport) -> tuple[int, int]:
    """For one epoch: how many metrics the record and the rerun both have, and how many of them differ."""
    both = [
        (value, recorded.metrics[name][report.epoch])
        for name, value in report.metrics.items()
        if report.epoch in recorded.metrics.get(name, {})
    ]
    return len(both), sum(ours != theirs for ours, theirs in both)


def _place(difference: Difference) -> tuple[int, float]:
    return difference.first_at, -difference.relative
