"""A driver without Ray for the tests of proposals: replicates run in no time, in any order, and it can be killed at any moment.

What a real driver leaves behind survives a kill: the ledger (a real one) and the reports (``Shelf``). What comes next depends
on nothing else, so that an interrupted simulation can be compared with an undisturbed one.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from optuna.trial import TrialState

from studies.engine.binding.replicates import Replicate
from studies.engine.definition.loading import load_study
from studies.engine.definition.study import Study
from studies.engine.execution.runner import proposals_of
from studies.engine.ledger.ledger import LedgerEntry, open_ledger, read_ledger
from studies.engine.proposing.adaptive_search import WarmStart
from studies.engine.proposing.earlier_trials import read_known, take_over
from studies.engine.proposing.proposals import Proposals, StudyHistory
from trainables import response_surface
from trainables.training.epoch_report import EpochReport


class KilledError(Exception):
    """The driver is gone."""


@dataclass
class Shelf:
    """What outlives a driver, beside its ledger, and what is written down for the tests."""

    reports: dict[str, list[EpochReport]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    """Identities, in the order in which drivers began them; one that was taken up again is there again."""
    verdicts: dict[tuple[str, int], bool] = field(default_factory=dict)
    """Whether a replicate was to stop, by identity and epoch, as it was said first."""
    clock_ms: int = 0


def surface_study(folder: Path, text: str) -> Study:
    """A study of the response surface."""
    folder.mkdir(exist_ok=True)
    (folder / "surface.yaml").write_text(f"question: What?\ntrainable: response_surface\nstorage: {folder}\n{text}")
    return load_study(str(folder / "surface.yaml"))


def simulate(
    study: Study,
    *,
    num_at_once: int = 1,
    kills: Iterable[int] = (),
    fails: Callable[[Replicate], bool] = lambda _: False,
    warm: WarmStart | None = None,
    shelf: Shelf | None = None,
    retry_failed: bool = False,
) -> tuple[Proposals, Shelf]:
    """Run a study to its end: one driver is killed after so many moments, the next after so many more, the last one never."""
    shelf = shelf or Shelf()
    for moments in [*kills, None]:
        driver = Driver(study, shelf, moments, num_at_once, fails, warm or WarmStart(), retry_failed=retry_failed)
        try:
            driver.run()
        except KilledError:
            continue
    return driver.proposals, shelf


class Driver:
    """What runner.py and controller.py do, in one thread."""

    def __init__(
        self,
        study: Study,
        shelf: Shelf,
        moments: int | None,
        num_at_once: int,
        fails: Callable[[Replicate], bool],
        warm: WarmStart,
        *,
        retry_failed: bool,
    ) -> None:
        self._shelf, self._moments, self._num_at_once, self._fails = shelf, moments, num_at_once, fails
        stores = study.stores
        known = read_known(study, ledger_of(study))
        notes = [*known.warm_start.notes, *warm.notes]
        warm = dataclasses.replace(warm, notes=notes)
        history = StudyHistory(dict(known.entries), lambda identity: shelf.reports.get(identity, []), retry_failed)
        self.proposals = proposals_of(study, history, warm)
        self._ledger = open_ledger(stores.ledger, stores.name, study.space)
        take_over(self._ledger, known)
        self._in_flight: dict[str, Replicate] = {}
        self._retry_failed = retry_failed

    def run(self) -> None:
        """Until nothing is left."""
        while True:
            while len(self._in_flight) < self._num_at_once and (replicate := self.proposals.next()):
                self._begin(replicate)
            if not self._in_flight:
                assert not self.proposals.is_waiting()
                return
            self._go_on(min(self._in_flight.values(), key=self._turn))

    def _moment(self) -> None:
        """One at which the driver may be killed."""
        if self._moments is not None:
            self._moments -= 1
            if self._moments < 0:
                raise KilledError

    def _turn(self, replicate: Replicate) -> bytes:
        """An order of what is in flight that has nothing to do with who asks."""
        num_done = len(self._shelf.reports.get(replicate.identity, ()))
        return hashlib.sha256(f"{replicate.identity}/{num_done}".encode()).digest()

    def _begin(self, replicate: Replicate) -> None:
        self._moment()
        known = self._ledger.entries().get(replicate.identity)
        retried = self._retry_failed and known is not None and known.state == TrialState.FAIL
        assert known is None or known.state == TrialState.RUNNING or retried
        self._ledger.begin(replicate)
        self._shelf.begun.append(replicate.identity)
        self._in_flight[replicate.identity] = replicate
        self._moment()
        for report in list(self._shelf.reports.get(replicate.identity, ())):
            if replicate.identity in self._in_flight:
                self._report(replicate, report)

    def _go_on(self, replicate: Replicate) -> None:
        """One epoch: first it is on disk, then the driver hears of it."""
        reports = self._shelf.reports.setdefault(replicate.identity, [])
        if self._fails(replicate):
            del self._in_flight[replicate.identity]
            self._ledger.fail(replicate.identity, "it is one of those")
            self._moment()
            self.proposals.finished(replicate, TrialState.FAIL, {})
            return
        config = response_surface.Config(**replicate.config)
        report = response_surface._report(config, replicate.seed, len(reports) + 1)
        self._shelf.clock_ms += 1
        reports.append(dataclasses.replace(report, timestamp_ms=self._shelf.clock_ms))
        self._moment()
        self._report(replicate, reports[-1])

    def _report(self, replicate: Replicate, report: EpochReport) -> None:
        identity = replicate.identity
        stop = self.proposals.reported(replicate, report.epoch, report.metrics) and not report.final
        assert self._shelf.verdicts.setdefault((identity, report.epoch), stop) == stop
        self._moment()
        if report.final or stop:
            del self._in_flight[identity]
            if report.final:
                self._ledger.complete(identity, report.metrics)
            else:
                self._ledger.prune(identity, "behind")
            self._moment()
            self.proposals.finished(replicate, TrialState.COMPLETE if report.final else TrialState.PRUNED, report.metrics)


def ledger_of(study: Study) -> dict[str, LedgerEntry]:
    """What a simulation has written down."""
    return dict(read_ledger(study.stores.ledger, study.stores.name, study.space))


def assert_consistent(study: Study, proposals: Proposals, shelf: Shelf) -> Sequence[LedgerEntry]:
    """What every study keeps at its end; returns the entries.

    Everything has ended; what was planned is what the ledger has, and as much as was foretold; nothing has been begun twice
    but what a killed driver left (the driver itself asserts that), and no stopping decision was ever taken back.
    """
    entries = ledger_of(study)
    assert all(entry.state.is_finished() for entry in entries.values())
    assert {replicate.identity for replicate in proposals.planned()} == set(entries)
    assert proposals.total() == len(proposals.planned())
    assert set(shelf.begun) == set(entries)
    for identity, entry in entries.items():
        assert study.binder.accepts(entry.cell, entry.tuned)
        epochs = [report.epoch for report in shelf.reports.get(identity, ())]
        assert epochs == list(range(1, len(epochs) + 1))
        stopped = [epoch for epoch in epochs if shelf.verdicts[identity, epoch]]
        assert stopped == (epochs[-1:] if entry.state == TrialState.PRUNED else [])
    return list(entries.values())
