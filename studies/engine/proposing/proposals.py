"""What is trained next, said one replicate at a time: known from the start here, found on the way in tuning.py and adaptive.py.

All are told how replicates end, and begin where the ledger says that an earlier driver left off.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from optuna.trial import TrialState

from studies.engine.binding.replicates import Replicate
from studies.engine.ledger.ledger import WITHDRAWN, LedgerEntry
from trainables.training.epoch_report import EpochReport


@dataclass(frozen=True)
class StudyHistory:
    """What earlier drivers left: the ledger's entries by identity, and a replicate's reports."""

    entries: Mapping[str, LedgerEntry]
    reports: Callable[[str], Sequence[EpochReport]]
    retry_failed: bool = False

    def needs_training(self, replicate: Replicate) -> bool:
        """Whether a replicate is still to be trained, or to be finished."""
        entry = self.entries.get(replicate.identity)
        if entry is None:
            return True
        again = self.retry_failed or entry.reason == WITHDRAWN
        return not entry.state.is_finished() or (again and entry.state == TrialState.FAIL)

    def is_running(self, replicate: Replicate) -> bool:
        """Whether a driver left it in flight."""
        entry = self.entries.get(replicate.identity)
        return entry is not None and not entry.state.is_finished()


class Proposals(Protocol):
    """What a driver asks and tells."""

    def next(self) -> Replicate | None:
        """What to train next; None where nothing can begin now."""

    def is_waiting(self) -> bool:
        """Whether more will come once something in flight has ended."""

    def reported(self, replicate: Replicate, epoch: int, metrics: Mapping[str, float]) -> bool:
        """An epoch is done; whether the replicate is not worth another one."""

    def finished(self, replicate: Replicate, state: TrialState, metrics: Mapping[str, float]) -> None:
        """A replicate is COMPLETE with these metrics, PRUNED or has FAILED."""

    def planned(self) -> Sequence[Replicate]:
        """Every replicate that the study has asked for so far, whether or not it has been trained."""

    def total(self) -> int:
        """How many there will be in all, as far as can be said."""

    def notes(self) -> Sequence[str]:
        """Sentences for the record on what was proposed."""


class FixedProposals:
    """Replicates that are known from the start, in their order; those that were in flight first, and each identity once."""

    def __init__(self, replicates: Sequence[Replicate], history: StudyHistory) -> None:
        self._replicates = replicates
        distinct = {replicate.identity: replicate for replicate in reversed(replicates)}
        left = [each for each in replicates if distinct[each.identity] is each and history.needs_training(each)]
        self._queue = deque(sorted(left, key=lambda replicate: not history.is_running(replicate)))

    def next(self) -> Replicate | None:
        return self._queue.popleft() if self._queue else None

    def is_waiting(self) -> bool:
        return bool(self._queue)

    def reported(self, replicate: Replicate, epoch: int, metrics: Mapping[str, float]) -> bool:
        return False

    def finished(self, replicate: Replicate, state: TrialState, metrics: Mapping[str, float]) -> None:
        """Nothing depends on it."""

    def planned(self) -> Sequence[Replicate]:
        return self._replicates

    def total(self) -> int:
        return len(self._replicates)

    def notes(self) -> Sequence[str]:
        return ()
