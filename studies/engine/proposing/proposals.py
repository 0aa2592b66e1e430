"""Proposals: what a study trains, one replicate at a time.

``FixedProposals`` of this module are known from the start; those of ``tuning.py`` and ``adaptive_search.py`` depend on results.
All of them continue where the ledger says that an earlier driver stopped.
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
    """What earlier drivers of a study left.

    Attributes:
        entries: Of the ledger, by identity, in the order in which the replicates began.
        reports: Gives the reports of a replicate by its identity; empty if there are none.
        retry_failed: Whether replicates that failed are to be trained again.
    """

    entries: Mapping[str, LedgerEntry]
    reports: Callable[[str], Sequence[EpochReport]]
    retry_failed: bool = False

    def needs_training(self, replicate: Replicate) -> bool:
        """Whether a replicate is to be trained, or to be resumed."""
        entry = self.entries.get(replicate.identity)
        if entry is None:
            return True
        again = self.retry_failed or entry.reason == WITHDRAWN
        return not entry.state.is_finished() or (again and entry.state == TrialState.FAIL)

    def is_running(self, replicate: Replicate) -> bool:
        """Whether an earlier driver stopped while this replicate was in training."""
        entry = self.entries.get(replicate.identity)
        return entry is not None and not entry.state.is_finished()


class Proposals(Protocol):
    """What a driver asks for replicates, and tells of their results."""

    def next(self) -> Replicate | None:
        """The replicate to train next; None if there is none now."""

    def is_waiting(self) -> bool:
        """Whether more replicates may be proposed once one in training has finished."""

    def reported(self, replicate: Replicate, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take note of an epoch's metrics; True if the replicate should stop here, since it is pruned."""

    def finished(self, replicate: Replicate, state: TrialState, metrics: Mapping[str, float]) -> None:
        """Take note that a replicate is COMPLETE with these metrics, PRUNED or FAIL."""

    def planned(self) -> Sequence[Replicate]:
        """Every replicate that the study has asked for so far, whether it has been trained or not."""

    def total(self) -> int:
        """How many replicates there will be in all, as far as is known now."""

    def notes(self) -> Sequence[str]:
        """Sentences on what was proposed, for the study's record."""


class FixedProposals:
    """Replicates that are known from the start, each identity once, in their order; those that were in training come first."""

    def __init__(self, replicates: Sequence[Replicate], history: StudyHistory) -> None:
        self._replicates = replicates
        distinct = {replicate.identity: replicate for replicate in reversed(replicates)}
        left = [each for each in replicates if distinct[each.identity] is each and history.needs_training(each)]
        self._queue = deque(sorted(left, key=lambda replicate: not history.is_running(replicate)))

    def next(self) -> Replicate | None:
        """The replicate to train next; None if there is none now."""
        return self._queue.popleft() if self._queue else None

    def is_waiting(self) -> bool:
        """Whether more replicates may be proposed once one in training has finished."""
        return bool(self._queue)

    def reported(self, replicate: Replicate, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take note of an epoch's metrics; True if the replicate should stop here, since it is pruned."""
        return False

    def finished(self, replicate: Replicate, state: TrialState, metrics: Mapping[str, float]) -> None:
        """Nothing to do: no proposal depends on it."""

    def planned(self) -> Sequence[Replicate]:
        """Every replicate that the study has asked for so far, whether it has been trained or not."""
        return self._replicates

    def total(self) -> int:
        """How many replicates there will be in all, as far as is known now."""
        return len(self._replicates)

    def notes(self) -> Sequence[str]:
        """Sentences on what was proposed, for the study's record."""
        return ()
