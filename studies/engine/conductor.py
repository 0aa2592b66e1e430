"""The conductor of a study: says what runs next and writes down what happened, first to the ledger, then to MLflow.

A parent that is not trained yet runs before the replicates that need it, which are held back meanwhile. It is nobody's
result: its folder is all that is kept of it.
"""

from pathlib import Path
from typing import Any

from optuna.trial import TrialState

from studies.engine.ledger import WITHDRAWN, Ledger
from studies.engine.progress import Display, Progress
from studies.engine.proposals import Proposals
from studies.engine.replicates import Parent, Replicate
from studies.engine.study import Study
from studies.engine.tracking import Tracker
from trainables.training.checkpoints import CheckpointFolder
from trainables.training.data import default_data_folder

MOST_HELD_IN_SEARCH = 4
"""A search is not asked for more while so many of its proposals wait for their parents: it would not learn from them."""


def checkpoint_folder(study: Study, identity: str) -> Path:
    """Where a replicate keeps its checkpoints and, once finished, its reports."""
    return study.stores.storage / "checkpoints" / identity


class StudyConductor:
    """Between the scheduler, which trains, and the proposals, the ledger, and the tracker."""

    def __init__(
        self,
        study: Study,
        proposals: Proposals,
        first: Replicate,
        ledger: Ledger,
        tracker: Tracker,
        progress: Progress,
        shown: Display,
        *,
        retry_failed: bool = False,
    ) -> None:
        self._study, self._proposals, self._ledger, self._tracker = study, proposals, ledger, tracker
        self._progress, self._display = progress, shown
        self._held = [first]
        """What has been proposed and not begun; it may wait for its parent."""
        self._in_flight: dict[str, Replicate | Parent] = {}
        self._to_prune: set[str] = set()
        self._trained: set[str] = set()
        """Identities that are known to be."""
        entries = ledger.entries()
        failed = [entry for entry in entries.items() if entry[1].state == TrialState.FAIL and entry[1].reason != WITHDRAWN]
        self._failures = {} if retry_failed else {identity: (entry.reason, "") for identity, entry in failed}
        """Reason and traceback by identity, of parents too."""
        self._planned = {replicate.identity for replicate in study.replicates}
        self._most_held = len(study.replicates) or MOST_HELD_IN_SEARCH

    def next_assignment(self) -> dict[str, Any] | None:
        for replicate in list(self._held):
            if assignment := self._advance(replicate):
                return assignment
        while len(self._held) < self._most_held and (proposal := self._proposals.next()):
            self._held.append(proposal)
            if assignment := self._advance(proposal):
                return assignment
        return None

    def _advance(self, replicate: Replicate) -> dict[str, Any] | None:
        """The assignment of a replicate that is held, or of its parent; None if neither can begin now."""
        parent = replicate.parent
        if replicate.identity in self._in_flight:  # as the parent of others, at this moment
            return None
        if parent is None or parent.identity in self._failures or self._is_trained(parent):
            self._held.remove(replicate)
            return self._start(replicate)
        if parent.identity not in self._in_flight and parent.identity not in self._planned:
            return self._assign(parent)
        return None

    def holds_back(self) -> bool:
        return bool(self._in_flight) and (bool(self._held) or self._proposals.holds_back())

    def _is_trained(self, parent: Parent) -> bool:
        if parent.identity in self._in_flight:
            return False
        if parent.identity not in self._trained:
            if not CheckpointFolder(checkpoint_folder(self._study, parent.identity)).finished_reports():
                return False
            self._trained.add(parent.identity)
        return True

    def _start(self, replicate: Replicate) -> dict[str, Any] | None:
        """The replicate's assignment; None if it has just failed, with its parent."""
        self._ledger.begin(replicate)
        parent = replicate.parent
        if parent and parent.identity in self._failures:
            reason, traceback = self._failures[parent.identity]
            self._in_flight[replicate.identity] = replicate
            self._tracker.begin(replicate)
            self.failed(replicate.identity, f"its parent failed: {reason}", traceback)
            return None
        return self._assign(replicate)

    def _assign(self, what: Replicate | Parent) -> dict[str, Any]:
        self._in_flight[what.identity] = what
        config = dict(what.config)
        if config["data"].endswith(".npz"):  # a worker's own folder is another
            config["data"] = str(Path(config["data"]).expanduser().resolve())
        if config["device"] == "auto" and not self._study.resources.gpus:  # Ray has reserved no GPU
            config["device"] = "cpu"
        return {
            "identity": what.identity,
            "trainable": what.trainable,
            "config": config,
            "seed": what.seed,
            "data_digest": what.data_digest,
            "data_folder": str(default_data_folder()),
            "checkpoint_folder": str(checkpoint_folder(self._study, what.identity)),
        }

    def started(self, identity: str) -> None:
        what = self._in_flight.get(identity)
        if what is None:
            return
        if isinstance(what, Replicate):
            self._tracker.begin(what)
        self._progress.running[identity] = what.title

    def should_stop(self, identity: str, report: dict[str, Any]) -> bool:
        what = self._in_flight.get(identity)
        if not isinstance(what, Replicate):
            return False
        stop = self._proposals.reported(what, report["epoch"], report["metrics"])
        if stop and report["epoch"] < report["num_epochs"]:
            self._to_prune.add(identity)
        return identity in self._to_prune

    def reported(self, identity: str, report: dict[str, Any]) -> None:
        what = self._in_flight.get(identity)
        if what is None:  # its process died after the last report, and was started again
            return
        final = report["epoch"] == report["num_epochs"]
        self._progress.running[identity] = f"{what.title} · epoch {report['epoch']}/{report['num_epochs']}"
        if isinstance(what, Parent):
            if final:
                self._trained.add(identity)
                self._end(what)
            return
        if final:
            self._ledger.complete(identity, report["metrics"])
            self._progress.consider(what.title, report["metrics"])
        self._tracker.report(what, report)
        if final:
            self._trained.add(identity)
            self._tracker.end(what, TrialState.COMPLETE)
            self._end(what, TrialState.COMPLETE, report["metrics"])
        elif identity in self._to_prune:
            reason = f"stopped after epoch {report['epoch']} of {report['num_epochs']}: it fell behind"
            self._ledger.prune(identity, reason)
            self._tracker.end(what, TrialState.PRUNED, reason)
            self._end(what, TrialState.PRUNED, report["metrics"])

    def failed(self, identity: str, reason: str, traceback: str = "") -> None:
        what = self._in_flight.get(identity)
        if what is None:
            return
        self._failures[identity] = (reason, traceback)
        if isinstance(what, Replicate):
            self._ledger.fail(identity, reason)
            self._tracker.end(what, TrialState.FAIL, reason, traceback)
        self._end(what, TrialState.FAIL)

    def _end(
        self, what: Replicate | Parent, state: TrialState = TrialState.COMPLETE, metrics: dict[str, float] | None = None
    ) -> None:
        del self._in_flight[what.identity]
        self._progress.running.pop(what.identity, None)
        if isinstance(what, Replicate):
            self._proposals.ended(what, state, metrics or {})
            self._progress.ended(state, total=self._proposals.total())
            self._tracker.plan(self._proposals.planned, self._proposals.notes)
        self._display.refresh()

    def tick(self) -> None:
        self._display.refresh()

    def leave(self) -> None:
        """The scheduler has returned early: what is in flight stays RUNNING in the ledger, to be taken up again."""
        for identity, what in self._in_flight.items():
            if isinstance(what, Replicate) and identity in self._progress.running:
                self._tracker.end(what, None, "interrupted; run the study again to finish it")
